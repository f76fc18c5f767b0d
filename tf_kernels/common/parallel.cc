#include "common/parallel.h"

#include <sys/mman.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

namespace kerasllm {
namespace {

constexpr int64_t kCacheLine = 64;
constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kNeverKept = 32 << 20;  // glibc's largest mmap threshold

int64_t round_up(int64_t value, int64_t unit) { return (value + unit - 1) / unit * unit; }

struct Work {
  int64_t num_tasks;
  void (*body)(void*, int64_t);
  void* context;  // only valid while a task is left
  std::atomic<int64_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable all_done;

  void take_tasks() {
    for (int64_t task; (task = next.fetch_add(1)) < num_tasks;) {
      body(context, task);
      if (done.fetch_add(1) + 1 == num_tasks) {
        const std::lock_guard<std::mutex> lock(mutex);
        all_done.notify_one();
      }
    }
  }
};

}  // namespace

void run_on_pool(int num_threads, const std::function<void(std::function<void()>)>& schedule,
                 int64_t num_tasks, void (*body)(void*, int64_t), void* context) {
  if (num_tasks <= 0) return;
  // Shared with the threads, some of which may look at it after this function has returned.
  const auto work = std::make_shared<Work>();
  work->num_tasks = num_tasks;
  work->body = body;
  work->context = context;
  for (int64_t i = 1; i < num_threads && i < num_tasks; ++i) {
    schedule([work] { work->take_tasks(); });
  }
  work->take_tasks();
  std::unique_lock<std::mutex> lock(work->mutex);
  work->all_done.wait(lock, [&] { return work->done.load() == num_tasks; });
}

int64_t Scratch::rounded(int64_t size_bytes) { return round_up(size_bytes, kCacheLine); }

Scratch::Scratch(int64_t size_bytes) {
  // The C library keeps no free memory of this size: each time it is new, and a page that is
  // touched first costs a trap into the system, which clears it. Huge pages make that ten times
  // cheaper.
  const bool large = size_bytes >= kNeverKept;
  const int64_t unit = large ? kHugePage : kCacheLine;
  const int64_t size = round_up(rounded(size_bytes) + kCacheLine, unit);
  block_ = static_cast<char*>(std::aligned_alloc(unit, size));
  if (block_ == nullptr) throw std::bad_alloc();
  if (large) madvise(block_, size, MADV_HUGEPAGE);  // advice: nothing is lost where it fails
  next_ = block_;
}

Scratch::~Scratch() { std::free(block_); }

void* Scratch::take(int64_t size_bytes) {
  char* const piece = next_;
  next_ += rounded(size_bytes);
  return piece;
}

}  // namespace kerasllm
