// Tokens to ids: what kerasllm.text.Vocabulary and the end of TextPipeline.encode do.
#ifndef KERASLLM_TEXT_ENCODING_VOCABULARY_H_
#define KERASLLM_TEXT_ENCODING_VOCABULARY_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kerasllm::text_encoding {

class Vocabulary {
 public:
  static constexpr int32_t kPadId = 0, kUnknownId = 1;

  // From the content of a file that kerasllm.text.Vocabulary wrote. Null, and why in *problem, if
  // it is none.
  static std::unique_ptr<const Vocabulary> read(std::string_view content, std::string* problem);

  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  int64_t size() const { return size_; }

  // The id of a token, kUnknownId if there is none.
  int32_t id(std::string_view token) const {
    const auto found = ids_.find(token);
    return found == ids_.end() ? kUnknownId : found->second;
  }

  // Appends the id of a token; with `spell_unknown`, those of its characters if it has none.
  void append_ids(std::string_view token, bool spell_unknown, std::vector<int32_t>* ids) const;

 private:
  explicit Vocabulary(std::unique_ptr<const std::string> tokens) : tokens_(std::move(tokens)) {}

  std::unique_ptr<const std::string> tokens_;  // what the keys look into
  std::unordered_map<std::string_view, int32_t> ids_;
  int64_t size_ = 0;
};

}  // namespace kerasllm::text_encoding

#endif  // KERASLLM_TEXT_ENCODING_VOCABULARY_H_
