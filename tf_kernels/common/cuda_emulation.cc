#include "common/cuda_emulation.h"

#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

namespace kerasllm::emulation {
namespace {

constexpr int kMostThreads = 1024, kWarpSize = 32;
constexpr size_t kStackBytes = 256 * 1024, kSharedBytes = 232448;  // an H100's shared memory

enum class State { kReady, kAtBlockBarrier, kAtWarpBarrier, kDone };

struct Fiber {
  State state;
  bool started;
  uint3 thread;
  ucontext_t context;
  jmp_buf place;
};

std::vector<Fiber> fibers(kMostThreads);
char* stacks = nullptr;
int current;
jmp_buf scheduler;
const std::function<void()>* body;
uint64_t words[kMostThreads];
alignas(64) char shared_memory[kSharedBytes];
uint64_t order_seed = 0;
int64_t most_shared = kSharedBytes;

struct Copy {
  void* to;
  const void* from;  // null for zeros
  int bytes, group;
};
// Of each thread: the copies under way, and the groups it has ended.
std::vector<Copy> copies[kMostThreads];
int copy_groups[kMostThreads];

void make(const Copy& copy) {
  if (copy.from == nullptr) {
    std::memset(copy.to, 0, copy.bytes);
  } else {
    std::memcpy(copy.to, copy.from, copy.bytes);
  }
}

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "emulated GPU: %s (block %u, %u, %u)\n", what, blockIdx.x, blockIdx.y,
               blockIdx.z);
  std::abort();
}

void enter() {
  (*body)();
  fibers[current].state = State::kDone;
  _longjmp(scheduler, 1);
}

void wait(State state) {
  fibers[current].state = state;
  if (_setjmp(fibers[current].place) == 0) _longjmp(scheduler, 1);
}

// Runs a fiber up to its next barrier or its end.
void resume(int index) {
  current = index;
  threadIdx = fibers[index].thread;
  if (_setjmp(scheduler) != 0) return;
  if (fibers[index].started) _longjmp(fibers[index].place, 1);
  fibers[index].started = true;
  setcontext(&fibers[index].context);
}

// Lets go on who has waited for all others; whether anybody can.
bool release(int threads) {
  bool any = false;
  int at_block = 0, done = 0;
  for (int warp = 0; warp < threads / kWarpSize; ++warp) {
    int at_warp = 0, gone = 0;
    for (int lane = 0; lane < kWarpSize; ++lane) {
      const State state = fibers[warp * kWarpSize + lane].state;
      at_warp += state == State::kAtWarpBarrier;
      at_block += state == State::kAtBlockBarrier;
      gone += state == State::kDone;
    }
    done += gone;
    if (at_warp == 0) continue;
    if (at_warp != kWarpSize) fail("lanes of a warp are missing from an exchange");
    for (int lane = 0; lane < kWarpSize; ++lane) {
      fibers[warp * kWarpSize + lane].state = State::kReady;
    }
    any = true;
  }
  if (any || at_block == 0) return any;
  if (done != 0) fail("threads left the kernel while others wait at a barrier");
  for (int i = 0; i < threads; ++i) fibers[i].state = State::kReady;
  return true;
}

void run_block(int threads, std::mt19937_64& random) {
  // A kernel must write shared memory before it reads it: NaN.
  std::memset(shared_memory, 0xff, sizeof(shared_memory));
  for (int i = 0; i < threads; ++i) {
    Fiber& fiber = fibers[i];
    fiber.state = State::kReady;
    fiber.started = false;
    copies[i].clear();
    copy_groups[i] = 0;
    const unsigned u = static_cast<unsigned>(i);
    fiber.thread = {u % blockDim.x, u / blockDim.x % blockDim.y, u / blockDim.x / blockDim.y};
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks + static_cast<size_t>(i) * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  std::vector<int> order(threads);
  for (int i = 0; i < threads; ++i) order[i] = i;
  do {
    if (order_seed != 0) std::shuffle(order.begin(), order.end(), random);
    for (const int i : order) {
      if (fibers[i].state == State::kReady) resume(i);
    }
  } while (release(threads));
}

}  // namespace

void block_barrier() { wait(State::kAtBlockBarrier); }
void warp_barrier() { wait(State::kAtWarpBarrier); }
int lane() { return current % kWarpSize; }
uint64_t* exchange() { return words + current / kWarpSize * kWarpSize; }
float* dynamic_shared() { return reinterpret_cast<float*>(shared_memory); }
void set_order(uint64_t seed) { order_seed = seed; }
int64_t shared_limit() { return most_shared; }
void set_shared_limit(int64_t bytes) {
  most_shared = std::min(bytes, static_cast<int64_t>(kSharedBytes));
}

void check_aligned(const void* address, size_t bytes) {
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0) fail("an access of an unaligned address");
}

void copy_async(void* to, const void* from, int bytes, bool real) {
  const uintptr_t size = static_cast<uintptr_t>(bytes);
  if (reinterpret_cast<uintptr_t>(to) % size != 0 || reinterpret_cast<uintptr_t>(from) % size != 0)
    fail("a copy of unaligned addresses");
  const Copy copy = {to, real ? from : nullptr, bytes, copy_groups[current]};
  if (order_seed % 2 == 1) {
    make(copy);
  } else {
    copies[current].push_back(copy);
  }
}
void commit_copies() { ++copy_groups[current]; }
void wait_for_copies(int unfinished) {
  std::vector<Copy>& mine = copies[current];
  size_t done = 0;
  while (done < mine.size() && mine[done].group < copy_groups[current] - unfinished) {
    make(mine[done++]);
  }
  mine.erase(mine.begin(), mine.begin() + static_cast<std::ptrdiff_t>(done));
}

void load_matrices(const void* row, bool transposed, uint32_t* words) {
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("a matrix's row of an unaligned address");
  uint64_t* const rows = exchange();
  rows[lane()] = reinterpret_cast<uintptr_t>(row);
  warp_barrier();
  const int g = lane() / 4, t = lane() % 4;
  for (int m = 0; m < 4; ++m) {
    const auto element = [&](int r, int c) -> uint32_t {
      return reinterpret_cast<const uint16_t*>(rows[8 * m + r])[c];
    };
    words[m] = transposed ? element(2 * t, g) | element(2 * t + 1, g) << 16
                          : element(g, 2 * t) | element(g, 2 * t + 1) << 16;
  }
  warp_barrier();
}

void multiply_add(float* c, const uint32_t* a, const uint32_t* b, int bytes,
                  float (*decode)(uint32_t)) {
  struct Operands {
    const uint32_t *a, *b;
  };
  const Operands mine = {a, b};
  uint64_t* const lanes = exchange();
  lanes[lane()] = reinterpret_cast<uintptr_t>(&mine);
  warp_barrier();
  const int g = lane() / 4, t = lane() % 4;
  const int each = 4 / bytes;  // elements of a word; a row has 4 words, twice
  const auto of = [&](int from) { return reinterpret_cast<const Operands*>(lanes[from]); };
  const auto part = [&](uint32_t word, int e) {
    return decode(bytes == 4 ? word : (word >> (16 * e)) & 0xffffu);
  };
  for (int half = 0; half < 2; ++half) {
    for (int s = 0; s < 4; ++s) {
      for (int e = 0; e < each; ++e) {
        const float left[2] = {part(of(4 * g + s)->a[2 * half], e),
                               part(of(4 * g + s)->a[2 * half + 1], e)};
        const float right[2] = {part(of(4 * (2 * t) + s)->b[half], e),
                                part(of(4 * (2 * t + 1) + s)->b[half], e)};
        for (int i = 0; i < 4; ++i) c[i] += left[i / 2] * right[i % 2];
      }
    }
  }
  warp_barrier();
}

int run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& thread) {
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const bool valid = threads >= 1 && threads <= kMostThreads && threads % kWarpSize == 0 &&
                     grid.x >= 1 && grid.y >= 1 && grid.z >= 1 && grid.x <= 0x7fffffffu &&
                     grid.y <= 65535u && grid.z <= 65535u &&
                     static_cast<int64_t>(shared_bytes) <= most_shared;
  if (!valid) return 9;  // cudaErrorInvalidConfiguration
  if (stacks == nullptr) {
    stacks = static_cast<char*>(mmap(nullptr, kMostThreads * kStackBytes, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (stacks == MAP_FAILED) fail("no memory for the fibers' stacks");
  }
  body = &thread;
  gridDim = grid;
  blockDim = block;
  std::mt19937_64 random(order_seed);
  std::vector<uint64_t> blocks(uint64_t{grid.x} * grid.y * grid.z);
  for (uint64_t i = 0; i < blocks.size(); ++i) blocks[i] = i;
  if (order_seed != 0) std::shuffle(blocks.begin(), blocks.end(), random);
  for (const uint64_t i : blocks) {
    blockIdx = {static_cast<unsigned>(i % grid.x), static_cast<unsigned>(i / grid.x % grid.y),
                static_cast<unsigned>(i / grid.x / grid.y)};
    run_block(static_cast<int>(threads), random);
  }
  return 0;
}

float half_to_float(uint16_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000u) << 16;
  const uint32_t exponent = (bits >> 10) & 31u, fraction = bits & 1023u;
  uint32_t word;
  if (exponent == 31) {
    word = sign | 0x7f800000u | (fraction << 13);
  } else if (exponent != 0) {
    word = sign | ((exponent + 112) << 23) | (fraction << 13);
  } else {
    const float value = static_cast<float>(fraction) * 5.9604644775390625e-8f;  // 2^-24
    std::memcpy(&word, &value, 4);
    word |= sign;
  }
  float result;
  std::memcpy(&result, &word, 4);
  return result;
}

uint16_t float_to_half(float value) {
  uint32_t word;
  std::memcpy(&word, &value, 4);
  const uint16_t sign = static_cast<uint16_t>((word >> 16) & 0x8000u);
  word &= 0x7fffffffu;
  if (word > 0x7f800000u) return static_cast<uint16_t>(sign | 0x7fffu);
  if (word >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);  // rounds past the largest
  if (word < 0x38800000u) {  // subnormal: adding 2^-1 leaves the fraction's 10 bits, rounded
    float magnitude;
    std::memcpy(&magnitude, &word, 4);
    magnitude += 0.5f;
    std::memcpy(&word, &magnitude, 4);
    return static_cast<uint16_t>(sign | (word - 0x3f000000u));
  }
  word += 0xfffu + ((word >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((word - 0x38000000u) >> 13));
}

}  // namespace kerasllm::emulation

// For the tests in Python.
extern "C" __attribute__((visibility("default"))) void kerasllm_cuda_set_order(uint64_t seed) {
  kerasllm::emulation::set_order(seed);
}
extern "C" __attribute__((visibility("default"))) void kerasllm_cuda_set_shared_limit(
    int64_t bytes) {
  kerasllm::emulation::set_shared_limit(bytes);
}
