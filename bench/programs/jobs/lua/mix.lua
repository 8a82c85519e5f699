-- Numbers, tables, strings, closures, coroutines and errors that are caught: what scripts do. Argument: rounds.
local rounds = tonumber(arg[1])
local seed = 42
local function random(limit)
  seed = (seed * 1103515245 + 12345) & 0x7fffffff
  return seed % limit
end

local function sorted(count)
  local list = {}
  for i = 1, count do list[i] = random(1000000) end
  table.sort(list, function(a, b) return a < b end)
  local sum = 0
  for i = 1, count do sum = (sum * 31 + list[i]) & 0xffffffff end
  return sum
end

local function words(count)
  local parts, counts = {}, {}
  for i = 1, count do parts[i] = string.format("%c%c%d", 97 + random(26), 97 + random(26), random(9)) end
  local text = table.concat(parts, " ")
  for word in text:gmatch("%a+") do counts[word] = (counts[word] or 0) + 1 end
  local names = {}
  for name in pairs(counts) do names[#names + 1] = name end
  table.sort(names)
  return #names, counts[names[1]], (text:gsub("a", "")):len()
end

local function permutations(list)
  local function permute(n)
    if n == 0 then return coroutine.yield(table.concat(list)) end
    for i = 1, n do
      list[n], list[i] = list[i], list[n]
      permute(n - 1)
      list[n], list[i] = list[i], list[n]
    end
  end
  return coroutine.wrap(function() permute(#list) end)
end

local function caught(count)
  local total = 0
  for i = 1, count do
    local ok, problem = pcall(function()
      if random(3) == 0 then error({ code = i % 7 }) end
      return nil + (random(2) == 0 and i or {})
    end)
    assert(not ok)
    total = total + (type(problem) == "table" and problem.code or #problem)
  end
  return total
end

local function mandelbrot(size)
  local inside = 0
  for y = 0, size - 1 do
    for x = 0, size - 1 do
      local cr, ci, zr, zi, n = 2.0 * x / size - 1.5, 2.0 * y / size - 1.0, 0.0, 0.0, 0
      while n < 50 and zr * zr + zi * zi < 4.0 do
        zr, zi, n = zr * zr - zi * zi + cr, 2.0 * zr * zi + ci, n + 1
      end
      if n == 50 then inside = inside + 1 end
    end
  end
  return inside
end

for round = 1, rounds do
  local count = 0
  for word in permutations({ "a", "b", "c", "d", "e", "f", "g" }) do count = (count * 7 + word:byte(3)) % 1000003 end
  print(round, sorted(20000), count, caught(10000), mandelbrot(100), words(20000))
end
