// What the C++ tests share: seeded data, threads, poisoned and guarded buffers, and comparison with
// a float64 reference. A failing case prints the line that says how to make it again.
#ifndef KERASLLM_COMMON_TESTING_H_
#define KERASLLM_COMMON_TESTING_H_

#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "common/bfloat16.h"
#include "common/isa.h"
#include "common/parallel.h"

namespace kerasllm::testing {

inline int failures = 0;

inline void expect(bool condition, const std::string& what) {
  if (condition) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

inline int finish(const char* name, int cases) {
  std::printf("%s: %d passed, %d failed\n", name, cases - failures, failures);
  return failures == 0 ? 0 : 1;
}

// Calls body(isa) for every instruction set that this processor runs, AMX on emulated tiles where
// it is compiled so.
template <class Body>
void for_each_isa(const Body& body) {
  for (int index = 0; index < kNumIsas; ++index) {
    const Isa isa = static_cast<Isa>(index);
    const bool emulated =
        isa == Isa::kAmx && KERASLLM_TEST_EMULATES_AMX && isa_supported(Isa::kAvx2);
    if (emulated || isa_supported(isa)) {
      body(isa);
    } else {
      std::printf("not on this processor: %s\n", isa_name(isa));
    }
  }
}

// Each thread takes the next task that is left, as a thread pool's do.
class Threads final : public Parallel {
 public:
  explicit Threads(int count) : count_(count) {}
  int num_threads() const override { return count_; }
  void run(int64_t num_tasks, void (*body)(void*, int64_t), void* context) override {
    std::vector<std::thread> threads;
    std::atomic<int64_t> next{0};
    for (int i = 0; i < count_; ++i) {
      threads.emplace_back([&] {
        for (int64_t task = next++; task < num_tasks; task = next++) body(context, task);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int count_;
};

inline double value_of(float v) { return v; }
inline double value_of(bfloat16 v) {
  const uint32_t bits = static_cast<uint32_t>(v.bits) << 16;
  float result;
  std::memcpy(&result, &bits, 4);
  return result;
}
inline double value_of(uint8_t v) { return v; }
inline void assign(float* to, double v) { *to = static_cast<float>(v); }
inline void assign(bfloat16* to, double v) {
  const float f = static_cast<float>(v);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  to->bits = static_cast<uint16_t>(bits >> 16);
}

// A tensor between canaries, filled with NaN until something is written.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : data_(size + 2 * kGuard) {
    std::memset(data_.data(), 0xff, data_.size() * sizeof(T));
  }
  T* get() { return data_.data() + kGuard; }
  int64_t size() const { return static_cast<int64_t>(data_.size()) - 2 * kGuard; }
  double operator[](int64_t i) const { return value_of(data_[kGuard + i]); }

  void fill(std::mt19937& random, double scale) {
    std::normal_distribution<double> normal(0.0, scale);
    for (int64_t i = 0; i < size(); ++i) assign(get() + i, normal(random));
  }
  bool guards_intact() const {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(data_.data());
    const size_t guard = kGuard * sizeof(T), total = data_.size() * sizeof(T);
    for (size_t i = 0; i < guard; ++i) {
      if (bytes[i] != 0xff || bytes[total - 1 - i] != 0xff) return false;
    }
    return true;
  }
  bool same_bits(const Buffer& other) const {
    return std::memcmp(data_.data(), other.data_.data(), data_.size() * sizeof(T)) == 0;
  }
  std::string bits() const {
    return std::string(reinterpret_cast<const char*>(data_.data()), data_.size() * sizeof(T));
  }
  // The largest distance from the reference; infinite where a value is NaN.
  double error(const std::vector<double>& reference) const {
    double worst = 0.0;
    for (int64_t i = 0; i < size(); ++i) {
      const double distance = std::fabs((*this)[i] - reference[i]);
      if (!(distance <= worst)) worst = distance == distance ? distance : INFINITY;
    }
    return worst;
  }
  std::vector<double> values() const {
    std::vector<double> result(size());
    for (int64_t i = 0; i < size(); ++i) result[i] = (*this)[i];
    return result;
  }

 private:
  static constexpr int64_t kGuard = 64;
  std::vector<T> data_;
};

// Does the same work 100 times, on 1, 2 and 4 threads in turn, and expects the same bits of all.
// run(parallel) does it; the results lie in the buffers.
template <class Run, class... Buffers>
void expect_repeatable(const std::string& what, const Run& run, const Buffers&... results) {
  const auto bits = [&] { return (std::string() + ... + results.bits()); };
  std::string first;
  for (int repeat = 0; repeat < 100; ++repeat) {
    const int count = 1 << repeat % 3;
    Threads threads(count);
    run(threads);
    if (repeat == 0) first = bits();
    if (bits() != first) {
      expect(false, what + " gives other bits the " + std::to_string(repeat + 1) + "th time, on " +
                        std::to_string(count) + " threads");
      return;
    }
  }
}

}  // namespace kerasllm::testing

#endif  // KERASLLM_COMMON_TESTING_H_
