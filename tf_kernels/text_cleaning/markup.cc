// HTML to plain text, as kerasllm/text/markup.py.
#include <algorithm>
#include <cstring>

#include "text_cleaning/characters.h"
#include "text_cleaning/steps.h"
#include "text_cleaning/tables.h"

namespace kerasllm::text_cleaning {
namespace {

// The item of a table with this name, or null.
template <class T>
const T* find_name(const Table<T>& table, const char* name) {
  const T* const found = std::lower_bound(
      table.begin(), table.end(), name,
      [](const T& item, const char* value) { return std::strcmp(item.name, value) < 0; });
  return found != table.end() && std::strcmp(found->name, name) == 0 ? found : nullptr;
}

bool is_blank(char32_t c) { return is(c, kBlank); }
bool is_inside_tag(char32_t c) { return c != U'<' && c != U'>'; }

// ASCII from the text, in a buffer of its own; too long a name is none.
class Name {
 public:
  Name(const Text& text, size_t begin, size_t end, bool lowercase) {
    const size_t size = end - begin < sizeof(characters_) ? end - begin : 0;
    for (size_t i = 0; i < size; ++i) {
      const char32_t c = text[begin + i];
      characters_[i] = static_cast<char>(lowercase && is_ascii_letter(c) ? c | 0x20 : c);
    }
    characters_[size] = 0;
  }
  const char* get() const { return characters_; }

 private:
  char characters_[40];
};

// Where the opening of a comment, script or style that begins at `at` ends; `at` if there is none.
// *closing gets what closes it.
size_t match_hidden_opening(const Text& text, size_t at, std::string_view* closing) {
  if (text[at] != U'<') return at;
  if (continues_with(text, at, "<!--")) {
    *closing = "-->";
    return at + 4;
  }
  size_t end;
  if (continues_with(text, at + 1, "script")) {
    *closing = "</script";
    end = at + 7;
  } else if (continues_with(text, at + 1, "style")) {
    *closing = "</style";
    end = at + 6;
  } else {
    return at;
  }
  if (!is_blank(text[end]) && text[end] != U'/' && text[end] != U'>') return at;
  end = end_of_run(text, end, is_inside_tag);
  return text[end] == U'>' ? end + 1 : at;
}

// Where what closes it ends, searched from `at`; npos if nowhere.
size_t find_closing(const Text& text, size_t at, std::string_view closing) {
  for (; at < text.size(); ++at) {
    if (!continues_with(text, at, closing)) continue;
    size_t end = at + closing.size();
    if (closing.back() == '>') return end;
    end = end_of_run(text, end, is_blank);
    if (text[end] == U'>') return end + 1;
  }
  return Text::npos;
}

void drop_hidden(Text* text, Text* buffer) {
  buffer->clear();
  size_t copied = 0;
  // Kinds without any further closing, by the length of what closes them, are not searched twice.
  bool unclosed[9] = {};
  for (size_t at = text->find(U'<'); at < text->size(); at = text->find(U'<', at)) {
    std::string_view closing;
    const size_t opened = match_hidden_opening(*text, at, &closing);
    if (opened == at) {
      ++at;
      continue;
    }
    const size_t end = unclosed[closing.size()] ? Text::npos : find_closing(*text, opened, closing);
    if (end == Text::npos) {
      unclosed[closing.size()] = true;
      at = opened;
      continue;
    }
    buffer->append(*text, copied, at - copied);
    copied = at = end;
  }
  if (copied == 0) return;
  buffer->append(*text, copied, Text::npos);
  text->swap(*buffer);
}

// Where the attributes that begin at `at` and their ">" end; npos if they are none.
size_t match_attributes(const Text& text, size_t at) {
  const size_t equals =
      end_of_run(text, at, [](char32_t c) { return is_inside_tag(c) && c != U'='; });
  if (text[equals] != U'=') return Text::npos;
  while (at < text.size() && is_inside_tag(text[at])) {
    const char32_t c = text[at];
    if (c == U'"' || c == U'\'') {
      const size_t quote =
          end_of_run(text, at + 1, [c](char32_t other) { return other != c && other != U'<'; });
      if (text[quote] != c) return Text::npos;
      at = quote;
    }
    ++at;
  }
  return text[at] == U'>' ? at + 1 : Text::npos;
}

// Where the tag that begins at `at` ends, `at` if there is none; its name from *begin to *end.
size_t match_tag(const Text& text, size_t at, size_t* begin, size_t* end) {
  if (text[at] != U'<') return at;
  size_t next = at + 1;
  for (const std::string_view declaration : {"!doctype", "?xml"}) {
    if (!continues_with(text, next, declaration)) continue;
    next += declaration.size();
    *begin = *end = next;
    if (!is_blank(text[next])) return at;
    next = end_of_run(text, next + 1, is_inside_tag);
    return text[next] == U'>' ? next + 1 : at;
  }
  if (text[next] == U'/') ++next;
  if (!is_ascii_letter(text[next])) return at;
  *begin = next;
  *end = next = end_of_run(text, next, is_ascii_alphanumeric);
  size_t last = end_of_run(text, next, is_blank);
  if (text[last] == U'/') ++last;
  if (text[last] == U'>') return last + 1;
  if (!is_blank(text[next])) return at;
  last = match_attributes(text, next + 1);
  return last == Text::npos ? at : last;
}

void remove_tags(Text* text, Text* buffer) {
  size_t name_begin, name_end;
  substitute(
      text, buffer, [&](size_t at) { return match_tag(*text, at, &name_begin, &name_end); },
      [&](size_t begin, size_t end, Text* to) {
        const bool declaration = name_begin == name_end;
        const Name name(*text, name_begin, name_end, true);
        const Element* const element = declaration ? nullptr : find_name(kElements, name.get());
        if (declaration || (element != nullptr && element->is_block)) {
          to->push_back(U' ');
        } else if (element == nullptr) {
          to->append(*text, begin, end - begin);
        }
      });
}

// Where the entity that begins at `at` ends, `at` if there is none.
size_t match_entity(const Text& text, size_t at) {
  if (text[at] != U'&') return at;
  size_t next = at + 1;
  if (text[next] == U'#') {
    const bool hexadecimal = (text[next + 1] | 0x20) == U'x';
    next += hexadecimal ? 2 : 1;
    const size_t end = end_of_run(text, next, [hexadecimal](char32_t c) {
      return is_ascii_digit(c) || (hexadecimal && (c | 0x20) - U'a' <= 5);
    });
    const size_t size = end - next;
    return size >= 1 && size <= (hexadecimal ? 6 : 7) && text[end] == U';' ? end + 1 : at;
  }
  if (!is_ascii_letter(text[next])) return at;
  const size_t end = end_of_run(text, next, is_ascii_alphanumeric);
  if (end - next >= 2 && end - next <= 31 && text[end] == U';') return end + 1;
  const bool is_nbsp = end - next == 4 && continues_with(text, next, "nbsp");
  return is_nbsp && text[end] != U'=' && text[end] != U';' ? end : at;
}

void append_reference(const Text& text, size_t begin, size_t end, Text* to) {
  const char32_t base = is_ascii_letter(text[begin]) ? 16 : 10;
  char32_t number = 0;
  for (size_t i = begin + (base == 16); i < end; ++i) {
    const char32_t c = text[i];
    number = base * number + (is_ascii_digit(c) ? c - U'0' : (c | 0x20) - U'a' + 10);
  }
  if (number > 0x10FFFF || (number >= 0xD800 && number < 0xE000)) {
    to->push_back(0xFFFD);
    return;
  }
  const Reference* const invalid =
      std::lower_bound(kInvalidReferences.begin(), kInvalidReferences.end(), number,
                       [](const Reference& item, char32_t value) { return item.number < value; });
  if (invalid == kInvalidReferences.end() || invalid->number != number) {
    to->push_back(number);
  } else if (invalid->code != 0) {
    to->push_back(invalid->code);
  }
}

void decode_entities(Text* text, Text* buffer) {
  substitute(
      text, buffer, [&](size_t at) { return match_entity(*text, at); },
      [&](size_t begin, size_t end, Text* to) {
        if ((*text)[begin + 1] == U'#') {
          append_reference(*text, begin + 2, end - 1, to);
        } else if ((*text)[end - 1] != U';') {
          to->push_back(0xA0);
        } else {
          const Name name(*text, begin + 1, end - 1, false);
          const Entity* const entity = find_name(kEntities, name.get());
          if (entity == nullptr) {
            to->append(*text, begin, end - begin);
          } else {
            to->push_back(entity->first);
            if (entity->second != 0) to->push_back(entity->second);
          }
        }
      });
}

}  // namespace

void remove_html(Text* text, Text* buffer) {
  if (text->find(U'<') != Text::npos) {
    drop_hidden(text, buffer);
    remove_tags(text, buffer);
  }
  for (int round = 0; round < 2; ++round) {
    if (text->find(U'&') != Text::npos) decode_entities(text, buffer);
  }
}

}  // namespace kerasllm::text_cleaning
