// The content of a vocab.txt: one token a line, the line's number from 0 being its id.
#ifndef KERASLLM_WORDPIECE_VOCABULARY_FILE_H_
#define KERASLLM_WORDPIECE_VOCABULARY_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace kerasllm {

struct VocabularyFile {
  std::vector<std::string_view> tokens;  // parts of the content
  std::unordered_map<std::string_view, int32_t> ids;

  // A sentence if the content is no vocabulary, else "".
  std::string parse(std::string_view content);
};

}  // namespace kerasllm

#endif  // KERASLLM_WORDPIECE_VOCABULARY_FILE_H_
