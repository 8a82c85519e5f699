// Something to compile that pulls in much of the standard library. REPEAT is set by the job.
#include <algorithm>
#include <functional>
#include <iomanip>
#include <iostream>
#include <map>
#include <memory>
#include <numeric>
#include <regex>
#include <sstream>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

template <int N> struct Tree {
  using Value = std::variant<int, double, std::string, std::unique_ptr<Tree<N - 1>>>;
  std::map<std::string, Value> values;
  std::string text() const {
    std::ostringstream out;
    for (const auto &[key, value] : values) {
      out << std::setw(N) << key << '=';
      std::visit([&](const auto &held) {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::unique_ptr<Tree<N - 1>>>) out << (held ? held->text() : "");
        else out << held;
      }, value);
    }
    return out.str();
  }
};
template <> struct Tree<0> {
  std::string text() const { return {}; }
};

int main(int argc, char **argv) {
  std::unordered_map<std::string, std::vector<int>> places;
  std::regex words("([a-z]+)|([0-9]+)");
  for (int i = 1; i < argc; i++) {
    std::string text = argv[i];
    for (std::sregex_iterator match(text.begin(), text.end(), words), end; match != end; ++match) places[match->str()].push_back(i);
  }
  Tree<REPEAT> tree;
  for (auto &[word, where] : places) {
    std::sort(where.begin(), where.end(), std::greater<>());
    tree.values[word] = std::accumulate(where.begin(), where.end(), 0.5);
  }
  std::cout << tree.text() << std::endl;
}
