// Known answers; Python's tests hold both against kerasllm.text.
#include "common/testing.h"
#include "text_encoding/characters.h"
#include "text_encoding/vocabulary.h"

namespace kerasllm::testing {
namespace {

using text_encoding::CharacterOptions;
using text_encoding::Vocabulary;

int cases = 0;

void expect_equal(const std::string& got, const std::string& expected, const std::string& what) {
  ++cases;
  expect(got == expected, what + ": got " + got + ", expected " + expected);
}

void check_characters(const CharacterOptions& options, const std::string& text,
                      const std::string& expected) {
  std::vector<text_encoding::Token> tokens;
  text_encoding::CharacterSplitter splitter(options);
  splitter.split("what was there before", &tokens);
  tokens.clear();
  splitter.split(text, &tokens);
  std::string got;
  for (const auto& [begin, end] : tokens) got += text.substr(begin, end - begin) + "|";
  expect_equal(got, expected, "characters of \"" + text + "\"");
}

void check_characters() {
  check_characters({}, "买iPhone 15了👍🏽", "买|i|P|h|o|n|e|1|5|了|👍🏽|");
  check_characters({true, false}, "买iPhone 15了👍🏽", "买|iPhone|15|了|👍🏽|");
  check_characters({false, true}, "a b\n", "a| |b|\n|");
  check_characters({true, false}, "1.5. don't 'a' 3\ufe0f\u20e3 x.y",
                   "1.5|.|don't|'|a|'|3\ufe0f\u20e3|x|.|y|");
  check_characters({}, "👨\u200d👩\u200d👧🇨🇳🇨e\u0301 \u0301a\u200db",
                   "👨\u200d👩\u200d👧|🇨🇳|🇨|e\u0301| \u0301|a|\u200d|b|");
  check_characters({}, "\xff我\xe4\xb8", "\xff|我|\xe4\xb8|");
  check_characters({}, "", "");
}

std::string ids(const Vocabulary& vocabulary, const char* token, bool spell) {
  std::vector<int32_t> found;
  vocabulary.append_ids(token, spell, &found);
  std::string result;
  for (const int32_t id : found) result += std::to_string(id) + " ";
  return result;
}

void check_vocabulary() {
  std::string problem;
  const auto vocabulary = Vocabulary::read(
      "\xef\xbb\xbf[PAD]\r\n[UNK]\n好\n味道\n\\s\\\\\\n\\u200b\n\\U0001f600\n\\e\n\\ud800\n味\n",
      &problem);
  expect(vocabulary != nullptr, problem);
  expect_equal(std::to_string(vocabulary->size()), "9", "size");
  expect_equal(ids(*vocabulary, "味道", true), "3 ", "a word");
  expect_equal(ids(*vocabulary, "好味真", true), "2 8 1 ", "a word that is spelled");
  expect_equal(ids(*vocabulary, "好味真", false), "1 ", "a word that is not");
  expect_equal(ids(*vocabulary, " \\\n\u200b", false), "4 ", "escapes");
  expect_equal(ids(*vocabulary, "😀", false), "5 ", "a long escape");
  expect_equal(ids(*vocabulary, "", true), "6 ", "the empty token");
  expect_equal(ids(*vocabulary, "[PAD]", true), "0 ", "a special token");
  const std::pair<const char*, const char*> broken[] = {
      {"", "it has 0 tokens"},         {"a\nb", "line 2 ends without a newline"},
      {"a\n\nb\n", "line 2 is no"},    {"a\n\\x\n", "line 2 is no"},
      {"a\nb\na\n", "line 3 repeats"}, {"a\n\\u12\n", "line 2 is no"},
  };
  for (const auto& [content, expected] : broken) {
    const bool read = Vocabulary::read(content, &problem) != nullptr;
    expect_equal(read ? "a vocabulary" : problem.substr(0, std::strlen(expected)), expected,
                 content);
  }
}

}  // namespace
}  // namespace kerasllm::testing

int main() {
  using namespace kerasllm::testing;
  check_characters();
  check_vocabulary();
  return finish("text_encoding", cases);
}
