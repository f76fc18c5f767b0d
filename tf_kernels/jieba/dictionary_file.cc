// The dictionary as the content of a file. All numbers are little-endian, as in memory:
//
//   header
//   characters  uint32 (num_characters,)   by id, from 1
//   units       uint32 (num_units, 2)      base and parent
//   frequencies uint64 (num_units,)
//   split words each uint32 length and uint32 (length,)
//   hmm         float64 start (4,), transition (4, 4), emission (num_han, 4); states B, E, M, S
#include <cstddef>
#include <cstring>

#include "jieba/dictionary.h"

namespace kerasllm::jieba {
namespace {

constexpr char kMagic[8] = {'K', 'L', 'L', 'M', 'J', 'I', 'E', 'B'};
constexpr uint32_t kVersion = 1;

struct Header {
  char magic[8];
  uint32_t version, num_characters;
  uint64_t num_units, total, num_split_words, checksum;  // of all that follows the header
};

static_assert(sizeof(Header) == Dictionary::kHeaderBytes, "the format has no padding");

uint64_t checksum_of(std::string_view bytes) {
  uint64_t sum = bytes.size();
  while (!bytes.empty()) {
    uint64_t word = 0;
    const size_t size = bytes.size() < 8 ? bytes.size() : 8;
    std::memcpy(&word, bytes.data(), size);
    sum = (sum ^ word) * 0x9E3779B97F4A7C15ull;
    sum ^= sum >> 32;
    bytes.remove_prefix(size);
  }
  return sum;
}

template <class T>
void append(const T* values, size_t count, std::string* to) {
  to->append(reinterpret_cast<const char*>(values), count * sizeof(T));
}

// Takes values from the front, or says that there are too few.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  bool read(T* values, uint64_t count) {
    if (count > bytes_.size() / sizeof(T)) return false;
    if (count > 0) std::memcpy(values, bytes_.data(), count * sizeof(T));
    bytes_.remove_prefix(count * sizeof(T));
    return true;
  }
  template <class Vector>
  bool read_vector(Vector* values, uint64_t count) {
    if (count > bytes_.size() / sizeof(typename Vector::value_type)) return false;
    values->resize(count);
    return read(values->data(), count);
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  std::string_view bytes_;
};

}  // namespace

std::string Dictionary::serialize() const {
  std::string content(sizeof(Header), '\0');
  append(alphabet_.characters().data(), alphabet_.size(), &content);
  for (const Unit& unit : units_) {
    append(&unit.base, 1, &content);
    append(&unit.parent, 1, &content);
  }
  append(frequencies_.data(), frequencies_.size(), &content);
  for (const std::u32string& word : split_words_) {
    const uint32_t length = static_cast<uint32_t>(word.size());
    append(&length, 1, &content);
    append(word.data(), word.size(), &content);
  }
  append(hmm_.start, kNumStates, &content);
  append(&hmm_.transition[0][0], kNumStates * kNumStates, &content);
  append(hmm_.emission.data(), hmm_.emission.size(), &content);
  Header header = {};
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.version = kVersion;
  header.num_characters = alphabet_.size();
  header.num_units = units_.size();
  header.total = total_;
  header.num_split_words = split_words_.size();
  std::memcpy(&content[0], &header, sizeof(Header));
  seal(&content);
  return content;
}

void Dictionary::seal(std::string* content) {
  if (content->size() < sizeof(Header)) return;
  const uint64_t checksum = checksum_of(std::string_view(*content).substr(sizeof(Header)));
  std::memcpy(&(*content)[offsetof(Header, checksum)], &checksum, sizeof(checksum));
}

std::shared_ptr<const Dictionary> Dictionary::deserialize(std::string_view content,
                                                          std::string* error) {
  const auto refuse = [&](const std::string& why) {
    *error = why;
    return nullptr;
  };
  Header header;
  Reader reader(content);
  if (!reader.read(&header, 1) || std::memcmp(header.magic, kMagic, sizeof(kMagic)) != 0) {
    return refuse("it is no dictionary of kerasllm's jieba ops");
  }
  if (header.version != kVersion) {
    return refuse("it is of version " + std::to_string(header.version) + ", expected " +
                  std::to_string(kVersion));
  }
  if (checksum_of(content.substr(sizeof(Header))) != header.checksum) {
    return refuse("it is damaged: its checksum is another");
  }
  const auto dictionary = std::make_shared<Dictionary>();
  std::vector<char32_t> characters;
  std::vector<uint32_t> units;
  Hmm& hmm = dictionary->hmm_;
  bool whole = header.num_units <= content.size() &&
               reader.read_vector(&characters, header.num_characters) &&
               reader.read_vector(&units, 2 * header.num_units) &&
               reader.read_vector(&dictionary->frequencies_, header.num_units);
  for (uint64_t i = 0; whole && i < header.num_split_words; ++i) {
    uint32_t length;
    std::u32string word;
    whole = reader.read(&length, 1) && reader.read_vector(&word, length);
    dictionary->split_words_.insert(word);
  }
  whole = whole && reader.read(hmm.start, kNumStates) &&
          reader.read(&hmm.transition[0][0], kNumStates * kNumStates) &&
          reader.read(hmm.emission.data(), hmm.emission.size()) && reader.at_end();
  if (!whole) return refuse("it is damaged: it has another length");

  for (const char32_t character : characters) {
    if (character > kLastCharacter) return refuse("it is damaged: a character is none");
    dictionary->alphabet_.add(character);
  }
  dictionary->total_ = header.total;
  dictionary->units_.resize(header.num_units);
  for (uint64_t i = 0; i < header.num_units; ++i) {
    // So no walk leaves the array, whatever the other numbers are.
    if (units[2 * i] + uint64_t{header.num_characters} >= header.num_units) {
      return refuse("it is damaged: a child lies outside the trie");
    }
    dictionary->units_[i].base = units[2 * i];
    dictionary->units_[i].parent = units[2 * i + 1];
  }
  if (header.num_units == 0 || header.total == 0) return refuse("it has no words");
  dictionary->take_logarithms();
  return dictionary;
}

}  // namespace kerasllm::jieba
