// What Python calls by ctypes, without TensorFlow. Texts are UTF-8, one behind the other in one
// buffer; ctypes releases Python's lock while a function here runs.
#include <algorithm>
#include <cstring>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/standard_threads.h"
#include "wordpiece/wordpiece.h"
#include "wordpiece/wordpiece_batch.h"

#define KERASLLM_EXPORT __attribute__((visibility("default")))

namespace kerasllm {
namespace {

struct Engine {
  std::shared_ptr<const Wordpiece> model;
};

void tell(std::string_view what, char* error, int64_t error_size) {
  const size_t size = std::min(what.size(), static_cast<size_t>(error_size - 1));
  std::memcpy(error, what.data(), size);
  error[size] = '\0';
}

// Calls what makes an object, and gives null and the reason where it throws (bad_alloc).
template <class Make>
auto guarded(char* error, int64_t error_size, const Make& make) -> decltype(make()) {
  try {
    return make();
  } catch (const std::exception& exception) {
    tell(exception.what(), error, error_size);
    return nullptr;
  }
}

std::vector<std::string_view> views(const char* texts, const int64_t* sizes, int64_t count) {
  std::vector<std::string_view> result;
  result.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    result.emplace_back(texts, static_cast<size_t>(sizes[i]));
    texts += sizes[i];
  }
  return result;
}

}  // namespace
}  // namespace kerasllm

using kerasllm::EncodedBatch;
using kerasllm::EncodingOptions;
using kerasllm::Engine;
using kerasllm::guarded;
using kerasllm::OffsetUnit;
using kerasllm::StandardThreads;
using kerasllm::tell;
using kerasllm::Truncation;
using kerasllm::views;
using kerasllm::Wordpiece;
using kerasllm::WordpieceBatch;
using kerasllm::WordpieceOptions;

extern "C" {

// `special_tokens`: the unknown, class, separator and padding token, then those that are only found
// in texts. Null where something is wrong, and what in `error`.
KERASLLM_EXPORT Engine* kerasllm_wordpiece_new(
    const char* vocabulary, int64_t vocabulary_size, int lowercase, int strip_accents,
    int split_cjk, int special_tokens_in_text, int32_t max_characters_per_word,
    const char* special_tokens, const int64_t* special_token_sizes, int64_t num_special_tokens,
    char* error, int64_t error_size) {
  return guarded(error, error_size, [&]() -> Engine* {
    const auto special = views(special_tokens, special_token_sizes, num_special_tokens);
    WordpieceOptions options;
    options.lowercase = lowercase != 0;
    options.strip_accents = strip_accents != 0;
    options.split_cjk = split_cjk != 0;
    options.special_tokens_in_text = special_tokens_in_text != 0;
    options.max_characters_per_word = max_characters_per_word;
    options.unknown_token = special.at(0);
    options.class_token = special.at(1);
    options.separator_token = special.at(2);
    options.padding_token = special.at(3);
    options.more_special_tokens.assign(special.begin() + 4, special.end());
    std::string problem;
    auto model =
        Wordpiece::create({vocabulary, static_cast<size_t>(vocabulary_size)}, options, &problem);
    if (model != nullptr) return new Engine{std::move(model)};
    tell(problem, error, error_size);
    return nullptr;
  });
}
KERASLLM_EXPORT void kerasllm_wordpiece_delete(Engine* engine) { delete engine; }

// Ragged tokens; `offset_unit` counts as OffsetUnit does.
KERASLLM_EXPORT WordpieceBatch* kerasllm_wordpiece_tokenize(const Engine* engine, const char* texts,
                                                            const int64_t* sizes, int64_t count,
                                                            int offset_unit, int num_threads,
                                                            char* error, int64_t error_size) {
  return guarded(error, error_size, [&] {
    StandardThreads threads(num_threads);
    return new WordpieceBatch(*engine->model, views(texts, sizes, count).data(), count, INT64_MAX,
                              static_cast<OffsetUnit>(offset_unit), threads);
  });
}
KERASLLM_EXPORT int64_t kerasllm_wordpiece_num_tokens(const WordpieceBatch* batch) {
  return batch->num_tokens();
}
KERASLLM_EXPORT void kerasllm_wordpiece_copy_tokens(const WordpieceBatch* batch, int32_t* ids,
                                                    int64_t* row_splits, int64_t* starts,
                                                    int64_t* ends) {
  batch->copy(ids, row_splits, starts, ends);
}
KERASLLM_EXPORT void kerasllm_wordpiece_tokens_delete(WordpieceBatch* batch) { delete batch; }

// Padded input; `pairs` may be null, `truncation` counts as Truncation does.
KERASLLM_EXPORT EncodedBatch* kerasllm_wordpiece_encode(const Engine* engine, const char* texts,
                                                        const int64_t* sizes, const char* pairs,
                                                        const int64_t* pair_sizes, int64_t count,
                                                        int64_t max_length, int truncation,
                                                        int pad_to_max_length, int num_threads,
                                                        char* error, int64_t error_size) {
  return guarded(error, error_size, [&]() -> EncodedBatch* {
    StandardThreads threads(num_threads);
    const auto first = views(texts, sizes, count);
    const auto second = views(pairs, pair_sizes, pairs == nullptr ? 0 : count);
    const EncodingOptions options = {max_length, static_cast<Truncation>(truncation),
                                     pad_to_max_length != 0, pairs != nullptr};
    auto batch = std::make_unique<EncodedBatch>(*engine->model, first.data(), second.data(), count,
                                                options, threads);
    if (batch->error().empty()) return batch.release();
    tell(batch->error(), error, error_size);
    return nullptr;
  });
}
KERASLLM_EXPORT int64_t kerasllm_wordpiece_length(const EncodedBatch* batch) {
  return batch->length();
}
KERASLLM_EXPORT void kerasllm_wordpiece_copy_encoded(const EncodedBatch* batch, int32_t* token_ids,
                                                     int32_t* segment_ids, bool* padding_mask,
                                                     int num_threads) {
  StandardThreads threads(num_threads);
  batch->write(token_ids, segment_ids, padding_mask, threads);
}
KERASLLM_EXPORT void kerasllm_wordpiece_encoded_delete(EncodedBatch* batch) { delete batch; }

}  // extern "C"
