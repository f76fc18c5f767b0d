// How compute code asks for threads and memory without knowing who provides them: TensorFlow's
// CPU worker threads, XLA's thread pool, or a test.
#ifndef KERASLLM_COMMON_PARALLEL_H_
#define KERASLLM_COMMON_PARALLEL_H_

#include <cstdint>
#include <functional>

namespace kerasllm {

class Parallel {
 public:
  virtual ~Parallel() = default;
  virtual int num_threads() const = 0;

  // Calls body(context, task) once for each task in [0, num_tasks), in any order and on any thread,
  // and returns when all are done. Results must not depend on the order: that is what keeps them
  // bit-equal whatever the number of threads.
  virtual void run(int64_t num_tasks, void (*body)(void* context, int64_t task), void* context) = 0;

  template <class Body>
  void for_each(int64_t num_tasks, const Body& body) {
    run(
        num_tasks, [](void* context, int64_t task) { (*static_cast<const Body*>(context))(task); },
        const_cast<Body*>(&body));
  }
};

// Runs tasks on the calling thread and on those of a pool, each taking the next task when it is
// done with one. A thread that the system wakes late (a scheduler's tick is milliseconds) costs
// little then, and tasks may differ in size. The caller does not wait for threads that come too
// late to find a task, so it needs no free thread in the pool to come to an end.
//
// `schedule` hands a function to the pool; `num_threads` counts the caller too.
void run_on_pool(int num_threads, const std::function<void(std::function<void()>)>& schedule,
                 int64_t num_tasks, void (*body)(void*, int64_t), void* context);

// Runs everything on the calling thread.
class Serial final : public Parallel {
 public:
  int num_threads() const override { return 1; }
  void run(int64_t num_tasks, void (*body)(void*, int64_t), void* context) override {
    for (int64_t task = 0; task < num_tasks; ++task) body(context, task);
  }
};

// Memory that is aligned to a cache line, uninitialised and freed with the object. Not a template
// and not inline, so that no copy of it is compiled with an instruction set of its own.
class Scratch {
 public:
  explicit Scratch(int64_t size_bytes);
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  // The next `size_bytes` of the block, rounded up to whole cache lines.
  void* take(int64_t size_bytes);

  static int64_t rounded(int64_t size_bytes);

 private:
  char* block_;
  char* next_;
};

}  // namespace kerasllm

#endif  // KERASLLM_COMMON_PARALLEL_H_
