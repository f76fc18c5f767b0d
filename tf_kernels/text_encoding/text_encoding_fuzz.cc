// Random vocabularies and texts, for the sanitizers to watch: text_encoding_fuzz SECONDS [SEED].
#include <cstdlib>

#include "common/fuzzing.h"
#include "text_encoding/characters.h"
#include "text_encoding/vocabulary.h"

namespace kerasllm::fuzzing {

std::vector<std::string> examples() {
  return {"[PAD]\n[UNK]\n好\n\\s\n\\u200b\n\\U0001f600\n\\e\n\\\\\n",
          "1.5 don't 3\ufe0f\u20e3 👨\u200d👩🇨🇳🇨e\u0301\u3000\xff"};
}

}  // namespace kerasllm::fuzzing

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace kerasllm::text_encoding;
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  std::vector<Token> tokens;
  CharacterSplitter({(data[0] & 1) != 0, (data[0] & 2) != 0}).split(text, &tokens);
  std::string problem;
  const auto vocabulary = Vocabulary::read(text, &problem);
  std::vector<int32_t> ids;
  int64_t end = 0;
  for (const Token& token : tokens) {
    if (token.begin < end || token.end <= token.begin) std::abort();
    end = token.end;
    const auto length = static_cast<size_t>(token.end - token.begin);
    if (vocabulary != nullptr) {
      vocabulary->append_ids(text.substr(static_cast<size_t>(token.begin), length), true, &ids);
    }
  }
  if (end > static_cast<int64_t>(text.size())) std::abort();
  for (const int32_t id : ids) {
    if (id < 0 || id >= vocabulary->size()) std::abort();
  }
  return 0;
}

KERASLLM_FUZZ_MAIN("text_encoding")
