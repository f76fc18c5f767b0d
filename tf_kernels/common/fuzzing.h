// A driver for fuzz targets where there is no libFuzzer (g++ has none): seeded random mutations of
// the target's examples. The target is libFuzzer's own, LLVMFuzzerTestOneInput, so that with clang
// -fsanitize=fuzzer -DKERASLLM_LIBFUZZER the same file runs under it.
//
// NAME_fuzz [SECONDS [SEED]]; an input that fails is written to NAME_fuzz.input before it is tried
// again by NAME_fuzz 0 FILE.
#ifndef KERASLLM_COMMON_FUZZING_H_
#define KERASLLM_COMMON_FUZZING_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace kerasllm::fuzzing {

// What the mutations begin with; each target defines it.
std::vector<std::string> examples();

}  // namespace kerasllm::fuzzing

#ifndef KERASLLM_LIBFUZZER

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <random>

namespace kerasllm::fuzzing {

inline void try_one(const std::string& input) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(input.data()), input.size());
}

inline std::string mutate(const std::vector<std::string>& corpus, std::mt19937_64& random) {
  std::string input = corpus[random() % corpus.size()];
  for (int count = 1 + static_cast<int>(random() % 8); count > 0; --count) {
    const size_t at = random() % (input.size() + 1);
    switch (random() % 6) {
      case 0:
        input.insert(at, 1, static_cast<char>(random()));
        break;
      case 1:
        input.erase(at, random() % 8);
        break;
      case 2:
        if (at < input.size()) input[at] = static_cast<char>(random());
        break;
      case 3:
        if (at < input.size()) input[at] ^= static_cast<char>(1u << random() % 8);
        break;
      case 4: {  // a piece of another example
        const std::string& other = corpus[random() % corpus.size()];
        const size_t from = random() % (other.size() + 1);
        input.insert(at, other, from, random() % 64);
        break;
      }
      default: {  // a piece over again
        const std::string piece = input.substr(at, 1 + random() % 32);
        for (int times = static_cast<int>(random() % 16); times > 0; --times) {
          input.insert(at, piece);
        }
      }
    }
  }
  return input;
}

inline int drive(int argc, char** argv, const char* name) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10.0;
  if (seconds == 0.0 && argc > 2) {
    std::ifstream file(argv[2], std::ios::binary);
    try_one({std::istreambuf_iterator<char>(file), {}});
    return 0;
  }
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  std::mt19937_64 random(seed);
  const std::vector<std::string> corpus = examples();
  for (const std::string& example : corpus) try_one(example);
  const std::string path = std::string(name) + ".input";
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int64_t count = 0;
  for (; std::chrono::steady_clock::now() < end; ++count) {
    // A sanitizer ends the process, so the input is on disk first, but costs no time: a file that
    // is rewritten a moment later stays in memory.
    const std::string input = mutate(corpus, random);
    std::FILE* const file = std::fopen(path.c_str(), "wb");
    if (file != nullptr) {
      std::fwrite(input.data(), 1, input.size(), file);
      std::fclose(file);
    }
    try_one(input);
  }
  std::remove(path.c_str());
  std::printf("%s: %lld inputs in %.0f s, seed %llu: nothing found\n", name,
              static_cast<long long>(count), seconds, static_cast<unsigned long long>(seed));
  return 0;
}

}  // namespace kerasllm::fuzzing

#define KERASLLM_FUZZ_MAIN(name) \
  int main(int argc, char** argv) { return kerasllm::fuzzing::drive(argc, argv, name); }
#else
#define KERASLLM_FUZZ_MAIN(name)
#endif

#endif  // KERASLLM_COMMON_FUZZING_H_
