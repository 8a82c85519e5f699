# Objects, blocks, strings, regular expressions, big numbers, exceptions, fibers, garbage: what scripts do.
rounds = (ENV["ROUNDS"] || "1").to_i
$seed = 42
def random(limit) = ($seed = ($seed * 1103515245 + 12345) & 0x7fffffff) % limit

Point = Struct.new(:x, :y) do
  include Comparable
  def <=>(other) = [x, y] <=> [other.x, other.y]
end

def points(count)
  Array.new(count) { Point.new(random(1000), random(1000)) }.sort.each_slice(7).sum { |few| few.first.x * few.last.y }
end

def words(count)
  text = Array.new(count) { (97 + random(26)).chr + (97 + random(26)).chr + random(9).to_s }.join(" ")
  counts = text.scan(/[a-z]+/).tally
  [counts.size, counts.min_by { |name, n| [-n, name] }, text.gsub(/a(\d)/) { $1 * 2 }.length]
end

def caught(count)
  (1..count).sum do |i|
    raise ArgumentError, "number #{i}" if random(3).zero?
    Integer("x#{i}")
  rescue ArgumentError => problem
    problem.message.length
  ensure
    $last = i
  end
end

def permutations(list)
  fiber = Fiber.new { list.permutation { |p| Fiber.yield p.join }; nil }
  hash = 0
  while (word = fiber.resume)
    hash = (hash * 7 + word.getbyte(2)) % 1000003
  end
  hash
end

def sieve(limit)
  flags = Array.new(limit + 1, true)
  (2..Integer.sqrt(limit)).each { |i| (i * i).step(limit, i) { |j| flags[j] = false } if flags[i] }
  flags.count(true) - 2
end

puts RUBY_DESCRIPTION
1.upto(rounds) do |round|
  found = catch(:found) { (1..1000).each { |i| throw :found, i if i * i > 5000 + round } }
  puts [round, points(4000), words(4000).inspect, caught(2000), permutations(%w[a b c d e f]), sieve(60000),
        (1..300 + round).inject(:*).digits.sum, found].join(" ")
  GC.start if round % 4 == 0
end
