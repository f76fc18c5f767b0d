// Web addresses and @names, as kerasllm/text/cleaning.py.
#include "text_cleaning/characters.h"
#include "text_cleaning/steps.h"

namespace kerasllm::text_cleaning {
namespace {

bool is_in_url(char32_t c) {
  return is_ascii_alphanumeric(c) || is_one_of(c, U"._~:/?#[]@!$&'()*+,;=%-");
}
bool ends_url(char32_t c) { return is_ascii_alphanumeric(c) || is_one_of(c, U"_~/#@$&*+=%-"); }

size_t match_url(const Text& text, size_t at) {
  static constexpr std::string_view kBeginnings[] = {"https://", "http://", "ftp://", "www."};
  if (!is_one_of(text[at] | 0x20, U"hfw")) return at;
  for (const std::string_view beginning : kBeginnings) {
    if (!continues_with(text, at, beginning)) continue;
    if (beginning == "www.") {
      const char32_t previous = before(text, at);
      if (is_ascii_alphanumeric(previous) || previous == U'@' || previous == U'.') return at;
    }
    const size_t begin = at + beginning.size();
    size_t end = end_of_run(text, begin, is_in_url);
    while (end > begin && !ends_url(text[end - 1])) --end;
    return end > begin ? end : at;
  }
  return at;
}

bool is_at_sign(char32_t c) { return c == U'@' || c == 0xFF20; }
bool is_in_domain(char32_t c) { return is_ascii_alphanumeric(c) || c == U'-'; }
bool is_in_name(char32_t c) { return is(c, kWord) || c == U'-'; }

size_t match_mention(const Text& text, size_t at) {
  if (!is_at_sign(text[at])) return at;
  const char32_t previous = before(text, at);
  if (is_ascii_alphanumeric(previous) || is_one_of(previous, U"._%+-")) return at;
  size_t end = at;
  while (is_at_sign(text[end])) {
    const size_t begin = end + 1;
    const size_t domain = end_of_run(text, begin, is_in_domain);
    if (domain > begin && text[domain] == U'.' && is_ascii_letter(text[domain + 1]) &&
        is_ascii_letter(text[domain + 2])) {
      break;
    }
    size_t name = begin;
    while (name - begin < 30 && name < text.size() && is_in_name(text[name])) ++name;
    if (name - begin < 2) break;
    end = name;
  }
  return end;
}

}  // namespace

void remove_urls(Text* text, Text* buffer) {
  substitute(
      text, buffer, [&](size_t at) { return match_url(*text, at); }, [](size_t, size_t, Text*) {});
}

void remove_mentions(Text* text, Text* buffer) {
  substitute(
      text, buffer, [&](size_t at) { return match_mention(*text, at); },
      [](size_t, size_t, Text*) {});
}

}  // namespace kerasllm::text_cleaning
