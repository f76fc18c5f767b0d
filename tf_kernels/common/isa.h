// Run-time choice of the instruction set.
//
// Every compute file (*_cpu.cc) is compiled once per instruction set, with that set's compiler
// flags and KERASLLM_ISA defined as the name of a namespace. What it exports is a table of function
// pointers; the dispatcher in isa.cc picks the table of the best set that the processor has.
#ifndef KERASLLM_COMMON_ISA_H_
#define KERASLLM_COMMON_ISA_H_

namespace kerasllm {

enum class Isa : int { kGeneric, kAvx2, kAvx512, kAvx512Bf16, kAmx };
inline constexpr int kNumIsas = 5;

// "generic", "avx2", "avx512", "avx512_bf16" or "amx": the values of KERASLLM_ISA.
const char* isa_name(Isa isa);

// Whether this processor and operating system can run the set.
bool isa_supported(Isa isa);

// The set in use: the best supported one, or the one that the environment variable KERASLLM_ISA
// names. Chosen once. A name that is unknown or that the processor cannot run leaves the best
// supported set in use; isa_error() then holds the sentence that says so, else it is empty.
Isa active_isa();
const char* isa_error();

// For tests: makes every later active_isa() return `isa`.
void override_isa(Isa isa);

}  // namespace kerasllm

// Declares the table `name` of every instruction set and defines `const Table& name()`, which
// returns the one in use.
#define KERASLLM_DISPATCH(Table, name)                                                        \
  namespace generic {                                                                         \
  extern const Table name;                                                                    \
  }                                                                                           \
  namespace avx2 {                                                                            \
  extern const Table name;                                                                    \
  }                                                                                           \
  namespace avx512 {                                                                          \
  extern const Table name;                                                                    \
  }                                                                                           \
  namespace avx512_bf16 {                                                                     \
  extern const Table name;                                                                    \
  }                                                                                           \
  namespace amx {                                                                             \
  extern const Table name;                                                                    \
  }                                                                                           \
  const Table& name() {                                                                       \
    static const Table* const tables[kNumIsas] = {&generic::name, &avx2::name, &avx512::name, \
                                                  &avx512_bf16::name, &amx::name};            \
    return *tables[static_cast<int>(active_isa())];                                           \
  }

#endif  // KERASLLM_COMMON_ISA_H_
