// wordpiece_fuzz SECONDS [SEED]: random vocabularies, options and texts for the sanitizers to
// watch.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "common/parallel.h"
#include "wordpiece/wordpiece_batch.h"

namespace kerasllm {
namespace {

const char* const kFragments[] = {"[MASK]", "[CLS]",  "[",        "##",         "\n",
                                  "\r\n",   " ",      "a",        "B",          "我",
                                  "豈",     "𠀀",     "é",        "e\u0301",    "İ",
                                  "가",     "\u302e", "\u1b44",   "\U0001d160", "\u0f73",
                                  "\ufeff", "\ufffd", "\xe4\xb8", "\xf0\x9f",   "\xed\xa0\x80",
                                  "\xff",   "！",     "\u3000",   "\u212b",     "\u08d4"};

std::string random_text(std::mt19937& random, unsigned longest) {
  std::string text;
  for (unsigned length = random() % (longest + 1); length > 0; --length) {
    if (random() % 4 == 0) {
      text += static_cast<char>(random());
    } else {
      text += kFragments[random() % (sizeof(kFragments) / sizeof(*kFragments))];
    }
  }
  return text;
}

void check(std::mt19937& random) {
  std::string vocabulary = random() % 8 ? "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n" : "";
  for (unsigned lines = random() % 40; lines > 0; --lines) {
    vocabulary += random_text(random, random() % 8 ? 3 : 60) + std::to_string(random() % 50);
    vocabulary += '\n';
  }
  WordpieceOptions options;
  options.lowercase = random() % 2;
  options.strip_accents = random() % 2;
  options.split_cjk = random() % 2;
  options.special_tokens_in_text = random() % 2;
  options.max_characters_per_word = 1 + static_cast<int32_t>(random() % 120);
  std::string error;
  const auto model = Wordpiece::create(vocabulary, options, &error);
  if (model == nullptr) return;
  for (int round = 0; round < 20; ++round) {
    std::vector<std::string> texts(random() % 8);
    for (std::string& text : texts) text = random_text(random, random() % 10 ? 40 : 3000);
    const std::vector<std::string_view> views(texts.begin(), texts.end());
    const auto count = static_cast<int64_t>(views.size());
    Serial serial;
    const WordpieceBatch batch(*model, views.data(), count, INT64_MAX, OffsetUnit::kCodePoints,
                               serial);
    for (int64_t row = 0; row < count; ++row) {
      for (int64_t i = 0; i < batch.length(row); ++i) {
        if (batch.ids(row)[i] < 0 || batch.ids(row)[i] >= model->size()) std::abort();
      }
    }
    const EncodingOptions encoding = {static_cast<int64_t>(random() % 20),
                                      static_cast<Truncation>(random() % 3), random() % 2 == 0,
                                      random() % 2 == 0};
    const EncodedBatch encoded(*model, views.data(), views.data(), count, encoding, serial);
    if (!encoded.error().empty()) continue;
    const auto size = static_cast<size_t>(count * encoded.length());
    std::vector<int32_t> ids(size), segments(size);
    const std::unique_ptr<bool[]> mask(new bool[size]);
    encoded.write(ids.data(), segments.data(), mask.get(), serial);
  }
}

}  // namespace
}  // namespace kerasllm

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 10.0;
  const unsigned seed = argc > 2 ? static_cast<unsigned>(std::atoi(argv[2])) : 1;
  std::mt19937 random(seed);
  const auto start = std::chrono::steady_clock::now();
  int64_t cases = 0;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() <
         seconds) {
    kerasllm::check(random);
    ++cases;
  }
  std::printf("wordpiece_fuzz: %lld vocabularies, seed %u\n", static_cast<long long>(cases), seed);
  return 0;
}
