// Threads for compute code that is called from outside TensorFlow: started for one piece of work
// and gone after it (some 20 microseconds each), so that nothing is left for a fork to lose.
#ifndef KERASLLM_COMMON_STANDARD_THREADS_H_
#define KERASLLM_COMMON_STANDARD_THREADS_H_

#include <functional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "common/parallel.h"

namespace kerasllm {

class StandardThreads final : public Parallel {
 public:
  // `count` includes the calling thread.
  explicit StandardThreads(int count) : count_(count) {}
  int num_threads() const override { return count_; }
  void run(int64_t num_tasks, void (*body)(void*, int64_t), void* context) override {
    std::vector<std::thread> threads;
    const auto schedule = [&](std::function<void()> f) {
      try {
        threads.emplace_back(std::move(f));
      } catch (const std::system_error&) {
        // No more threads to be had: those there are do the work.
      }
    };
    run_on_pool(count_, schedule, num_tasks, body, context);
    for (std::thread& thread : threads) thread.join();
  }

 private:
  int count_;
};

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_STANDARD_THREADS_H_
