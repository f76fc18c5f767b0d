#include "common/parallel.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>

namespace kerasllm {
namespace {

constexpr int64_t kCacheLine = 64;

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

int64_t Scratch::rounded(int64_t size_bytes) {
  return (size_bytes + kCacheLine - 1) / kCacheLine * kCacheLine;
}

Scratch::Scratch(int64_t size_bytes) {
  block_ = static_cast<char*>(std::aligned_alloc(kCacheLine, rounded(size_bytes) + kCacheLine));
  if (block_ == nullptr) throw std::bad_alloc();
  next_ = block_;
}

Scratch::~Scratch() { std::free(block_); }

void* Scratch::take(int64_t size_bytes) {
  char* const piece = next_;
  next_ += rounded(size_bytes);
  return piece;
}

}  // namespace kerasllm
