// Starts muParser's console calculator, whose main is compiled as `calculator`, on the file that its argument names:
// jobs have no standard input.
#include <cstdio>
#include <cstdlib>

#undef main

int calculator(int argc, char **argv);

int main(int argc, char **argv) {
  if (argc != 2 || std::freopen(argv[1], "r", stdin) == nullptr) {
    std::perror("muparser: one file of expressions");
    return EXIT_FAILURE;
  }
  return calculator(argc, argv);
}
