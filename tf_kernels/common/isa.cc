#include "common/isa.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace kerasllm {
namespace {

const char* const kNames[kNumIsas] = {"generic", "avx2", "avx512", "avx512_bf16", "amx"};

// Which register state the operating system saves (XCR0); 0 where it uses no xsave.
uint64_t enabled_state() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (static_cast<uint64_t>(high) << 32) | low;
}

// Linux gives a process the AMX tile registers only when it asks (arch_prctl(2),
// ARCH_REQ_XCOMP_PERM for state component 18, XTILEDATA).
bool request_tiles() { return syscall(SYS_arch_prctl, 0x1023, 18) == 0; }

Isa best_isa() {
  constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xe6, kTileState = 0x60000;
  const uint64_t state = enabled_state();
  uint32_t a, b, c, d;
  if ((state & kAvxState) != kAvxState || !__get_cpuid(1, &a, &b, &c, &d)) return Isa::kGeneric;
  const bool fma = c & bit_FMA, f16c = c & bit_F16C;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return Isa::kGeneric;
  if (!fma || !f16c || !(b & bit_AVX2)) return Isa::kGeneric;
  constexpr uint32_t kAvx512 = (1u << 16) | (1u << 17) | (1u << 30) | (1u << 31);  // F, DQ, BW, VL
  if ((state & kAvx512State) != kAvx512State || (b & kAvx512) != kAvx512) return Isa::kAvx2;
  const bool tiles = (d & (1u << 24)) && (d & (1u << 22));  // AMX-TILE, AMX-BF16
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & (1u << 5))) return Isa::kAvx512;
  if ((state & kTileState) == kTileState && tiles && request_tiles()) return Isa::kAmx;
  return Isa::kAvx512Bf16;
}

struct Choice {
  Isa best;
  std::atomic<Isa> active;
  std::string error;

  Choice() : best(best_isa()), active(best) {
    const char* name = std::getenv("KERASLLM_ISA");
    if (name == nullptr || *name == '\0') return;
    std::string known;
    for (int i = 0; i < kNumIsas; ++i) {
      if (std::strcmp(name, kNames[i]) == 0 && i <= static_cast<int>(best)) {
        active = static_cast<Isa>(i);
        return;
      }
      if (i <= static_cast<int>(best)) known += (i ? ", " : "") + std::string(kNames[i]);
    }
    error = "KERASLLM_ISA is \"" + std::string(name) + "\"; this processor runs " + known + "; " +
            kNames[static_cast<int>(best)] + " is used";
  }
};

Choice& choice() {
  static Choice* const instance = new Choice();
  return *instance;
}

}  // namespace

const char* isa_name(Isa isa) { return kNames[static_cast<int>(isa)]; }
bool isa_supported(Isa isa) { return isa <= choice().best; }
Isa active_isa() { return choice().active.load(std::memory_order_relaxed); }
const char* isa_error() { return choice().error.c_str(); }
void override_isa(Isa isa) { choice().active = isa; }

}  // namespace kerasllm
