// AMX tile registers: 8 of up to 16 rows of 64 bytes, and the product of two of them.
//
// With KERASLLM_EMULATE_TILES the same four operations run in plain C++, written from Intel's
// pseudocode (Software Developer's Manual, TDPBF16PS), so that the code above them is tested on
// machines without AMX.
#ifndef KERASLLM_COMMON_TILES_H_
#define KERASLLM_COMMON_TILES_H_

#include <cstdint>
#include <cstring>

#include "common/bfloat16.h"
#include "common/vec.h"

namespace kerasllm {
namespace KERASLLM_ISA {

// The memory operand of LDTILECFG.
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64, "LDTILECFG reads 64 bytes");

#ifdef KERASLLM_EMULATE_TILES

struct EmulatedTiles {
  TileConfig config;
  uint8_t data[8][16][64];
};
inline thread_local EmulatedTiles emulated_tiles;

inline void tile_configure(const TileConfig& config) {
  emulated_tiles.config = config;
  std::memset(emulated_tiles.data, 0, sizeof(emulated_tiles.data));
}
inline void tile_release() { emulated_tiles.config = TileConfig(); }

template <int kTile>
inline void tile_zero() {
  std::memset(emulated_tiles.data[kTile], 0, sizeof(emulated_tiles.data[kTile]));
}

template <int kTile>
inline void tile_load(const void* base, int64_t stride_bytes) {
  EmulatedTiles& t = emulated_tiles;
  tile_zero<kTile>();
  for (int row = 0; row < t.config.rows[kTile]; ++row) {
    std::memcpy(t.data[kTile][row], static_cast<const char*>(base) + row * stride_bytes,
                t.config.row_bytes[kTile]);
  }
}

template <int kTile>
inline void tile_store(void* base, int64_t stride_bytes) {
  const EmulatedTiles& t = emulated_tiles;
  for (int row = 0; row < t.config.rows[kTile]; ++row) {
    std::memcpy(static_cast<char*>(base) + row * stride_bytes, t.data[kTile][row],
                t.config.row_bytes[kTile]);
  }
}

template <int kC, int kA, int kB>
inline void tile_multiply_add() {
  EmulatedTiles& t = emulated_tiles;
  for (int m = 0; m < t.config.rows[kC]; ++m) {
    for (int k = 0; k < t.config.row_bytes[kA] / 4; ++k) {
      for (int n = 0; n < t.config.row_bytes[kC] / 4; ++n) {
        bfloat16 a[2], b[2];
        float c;
        std::memcpy(a, t.data[kA][m] + 4 * k, 4);
        std::memcpy(b, t.data[kB][k] + 4 * n, 4);
        std::memcpy(&c, t.data[kC][m] + 4 * n, 4);
        c += to_float(a[0]) * to_float(b[0]);
        c += to_float(a[1]) * to_float(b[1]);
        std::memcpy(t.data[kC][m] + 4 * n, &c, 4);
      }
    }
  }
}

#else

// The compiler's intrinsics take tile numbers only as literals and do not say that they read and
// write memory; these do.
inline void tile_configure(const TileConfig& config) {
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}
inline void tile_release() { __asm__ volatile("tilerelease" ::: "memory"); }
template <int kTile>
inline void tile_zero() {
  __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
}
template <int kTile>
inline void tile_load(const void* base, int64_t stride_bytes) {
  __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(base), "r"(stride_bytes), "i"(kTile)
                   : "memory");
}
template <int kTile>
inline void tile_store(void* base, int64_t stride_bytes) {
  __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(base), "r"(stride_bytes), "i"(kTile)
                   : "memory");
}
// C (rows, 16 float32) += A (rows, 32 bfloat16) x B (16 pairs of rows, 16 pairs of bfloat16).
template <int kC, int kA, int kB>
inline void tile_multiply_add() {
  __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kC), "i"(kA), "i"(kB));
}

#endif  // KERASLLM_EMULATE_TILES

// Tiles 0 to 3 accumulate, 4 holds rows of A, 5 to 7 pieces of B (5 more rows of A where a product
// has 32, all of 16 then).
inline void configure_tiles(int rows) {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) {
    config.row_bytes[tile] = 64;
    config.rows[tile] = tile < 5 ? static_cast<uint8_t>(rows) : 16;
  }
  tile_configure(config);
}

// Sets the tiles up for the calling thread for as long as it lives.
struct TilesInUse {
  TilesInUse() { configure_tiles(16); }
  ~TilesInUse() { tile_release(); }
};

// Up to 16 rows (as many as the tiles are configured for) of a times a panel of 64 columns.
inline void multiply_tiles(const bfloat16* a, int64_t lda, int64_t depth, const bfloat16* panel,
                           float* c, int64_t ldc, bool accumulate) {
  constexpr int64_t kPanelRow = 2 * 64;  // a pair of panel rows, in elements
  const int64_t c_stride = ldc * 4;
  if (accumulate) {
    tile_load<0>(c, c_stride);
    tile_load<1>(c + 16, c_stride);
    tile_load<2>(c + 32, c_stride);
    tile_load<3>(c + 48, c_stride);
  } else {
    tile_zero<0>();
    tile_zero<1>();
    tile_zero<2>();
    tile_zero<3>();
  }
  for (int64_t k = 0; k < depth; k += 32) {
    const bfloat16* const b = panel + k / 2 * kPanelRow;
    tile_load<4>(a + k, lda * 2);
    tile_load<5>(b, kPanelRow * 2);
    tile_multiply_add<0, 4, 5>();
    tile_load<6>(b + 32, kPanelRow * 2);
    tile_multiply_add<1, 4, 6>();
    tile_load<7>(b + 64, kPanelRow * 2);
    tile_multiply_add<2, 4, 7>();
    tile_load<5>(b + 96, kPanelRow * 2);
    tile_multiply_add<3, 4, 5>();
  }
  tile_store<0>(c, c_stride);
  tile_store<1>(c + 16, c_stride);
  tile_store<2>(c + 32, c_stride);
  tile_store<3>(c + 48, c_stride);
}

// 32 rows of a times a panel, half of it at a time: four loads, two of them of the panel, serve
// four products, where 16 rows take five loads, four of them of the panel.
inline void multiply_tiles_of_32_rows(const bfloat16* a, int64_t lda, int64_t depth,
                                      const bfloat16* panel, float* c, int64_t ldc,
                                      bool accumulate) {
  constexpr int64_t kPanelRow = 2 * 64;
  const int64_t a_stride = lda * 2, c_stride = ldc * 4;
  const bfloat16* const lower_a = a + 16 * lda;
  for (int64_t column = 0; column < 64; column += 32) {
    float *const upper = c + column, *const lower = upper + 16 * ldc;
    if (accumulate) {
      tile_load<0>(upper, c_stride);
      tile_load<1>(upper + 16, c_stride);
      tile_load<2>(lower, c_stride);
      tile_load<3>(lower + 16, c_stride);
    } else {
      tile_zero<0>();
      tile_zero<1>();
      tile_zero<2>();
      tile_zero<3>();
    }
    for (int64_t k = 0; k < depth; k += 32) {
      const bfloat16* const b = panel + k / 2 * kPanelRow + 2 * column;
      tile_load<4>(a + k, a_stride);
      tile_load<6>(b, kPanelRow * 2);
      tile_multiply_add<0, 4, 6>();
      tile_load<7>(b + 32, kPanelRow * 2);
      tile_multiply_add<1, 4, 7>();
      tile_load<5>(lower_a + k, a_stride);
      tile_multiply_add<2, 5, 6>();
      tile_multiply_add<3, 5, 7>();
    }
    tile_store<0>(upper, c_stride);
    tile_store<1>(upper + 16, c_stride);
    tile_store<2>(lower, c_stride);
    tile_store<3>(lower + 16, c_stride);
  }
}

}  // namespace KERASLLM_ISA
}  // namespace kerasllm

#endif  // KERASLLM_COMMON_TILES_H_
