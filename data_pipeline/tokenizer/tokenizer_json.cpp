#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "data_pipeline/tokenizer/byte_characters.hpp"
#include "data_pipeline/tokenizer/vocabulary_files.hpp"

namespace kangpt::data {
namespace {

using Json = nlohmann::json;

// Says where something is wrong: the member of a JSON file, or the line of a list of merges.
class Place {
 public:
  explicit Place(const fs::path& file) : text_(file.string() + ": ") {}

  [[noreturn]] void fail(const std::string& member, const std::string& problem) const {
    throw DataError(text_ + member + (member.empty() ? "" : ": ") + problem);
  }
  // For what is well-formed, and can't be done exactly here.
  [[noreturn]] void refuse(const std::string& member, const std::string& what) const {
    fail(member, what +
                     " is not supported; byte-level BPE with GPT-2's splitting is: a model BPE without dropout, "
                     "the pre-tokeniser ByteLevel without add_prefix_space, no normaliser");
  }

 private:
  std::string text_;
};

Json parse(const fs::path& file, std::string_view content) {
  try {
    return Json::parse(content);
  } catch (const Json::exception& error) {
    const std::string text = error.what();
    const std::size_t id = text.find("] ");
    Place(file).fail("", id == std::string::npos ? text : text.substr(id + 2));
  }
}

const Json& member(const Json& object, const char* name) {
  static const Json null;
  const auto found = object.find(name);
  return found == object.end() ? null : *found;
}

std::string shortened(const Json& json) {
  constexpr std::size_t kMost = 60;
  const std::string text = json.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() <= kMost ? text : text.substr(0, kMost) + "...";
}

// "NFC", or "a Sequence of Split, ByteLevel", or the beginning of what has no type.
std::string type_of(const Json& json) {
  const Json& type = json.is_object() ? member(json, "type") : json;
  if (!type.is_string()) return shortened(json);
  std::string text = type.get<std::string>();
  if (text != "Sequence") return text;
  for (const char* const list : {"pretokenizers", "normalizers", "processors", "decoders"}) {
    const Json& parts = member(json, list);
    for (std::size_t i = 0; parts.is_array() && i < parts.size(); ++i)
      text += (i == 0 ? " of " : ", ") + type_of(parts[i]);
  }
  return "a " + text;
}

bool is_true(const Json& object, const char* name, bool otherwise) {
  const Json& value = member(object, name);
  return value.is_boolean() ? value.get<bool>() : otherwise;
}

std::uint32_t checked_id(const Json& id, const std::function<void()>& fail) {
  if (!id.is_number_unsigned() || id.get<std::uint64_t>() >= kMaximumTokens) fail();
  return id.get<std::uint32_t>();
}

// Collects ids and merges in any order of ids, and checks that they fit together.
class ModelReader {
 public:
  explicit ModelReader(const Place& place) : place_(place) {}

  void add_special(const std::string& name, std::uint32_t id, const std::string& where) {
    if (name.empty()) place_.fail(where, "has no content");
    if (!special_.emplace(name, id).second) place_.fail(where, "'" + name + "' stands there twice");
  }

  // Names of ids: an object.
  void read_ids(const Json& ids, const std::string& where) {
    if (!ids.is_object()) place_.fail(where, "expected an object of tokens and their ids");
    for (const auto& [name, value] : ids.items()) {
      const std::uint32_t id = checked_id(value, [&, &token = name] {
        place_.fail(where + "['" + token + "']", "expected an id below " + std::to_string(kMaximumTokens));
      });
      place_token(name, id, where);
    }
    const std::size_t in_model = ids.size();
    for (const auto& [name, id] : special_) {
      if (id_of_name_.contains(name)) continue;
      if (id < in_model) place_.fail("added_tokens", "'" + name + "' has the id of a token of the model");
      place_token(name, id, "added_tokens");
    }
    for (std::size_t id = 0; id < tokens_.size(); ++id) {
      if (!taken_[id]) place_.fail(where, "no token has the id " + std::to_string(id));
    }
    find_bytes(where);
  }

  void add_merge(const std::string& left, const std::string& right, const std::function<void(std::string)>& fail) {
    const auto known = [&](const std::string& name) {
      const auto found = id_of_name_.find(name);
      if (found == id_of_name_.end()) fail("'" + name + "' is not a token of the vocabulary");
      if (special_.contains(name)) fail("'" + name + "' is a special token and can't merge");
      return found->second;
    };
    const TokenMerge merge{known(left), known(right), known(left + right)};
    if (!pairs_.insert((std::uint64_t{merge.left} << 32) | merge.right).second) fail("the pair stands there twice");
    merges_.push_back(merge);
  }

  VocabularyParts finish(Merging merging) && {
    VocabularyParts parts{.tokens = std::move(tokens_), .merges = std::move(merges_), .merging = merging};
    for (const auto& [name, id] : special_) parts.special.push_back(id);
    std::sort(parts.special.begin(), parts.special.end());
    choose_end_of_text(parts);
    return parts;
  }

 private:
  void place_token(const std::string& name, std::uint32_t id, const std::string& where) {
    const auto special = special_.find(name);
    if (special != special_.end() && special->second != id) {
      place_.fail(where, "'" + name + "' has the id " + std::to_string(id) + ", and " +
                             std::to_string(special->second) + " in added_tokens");
    }
    if (id >= tokens_.size()) {
      tokens_.resize(id + 1);
      taken_.resize(id + 1);
    }
    if (taken_[id]) place_.fail(where, "two tokens have the id " + std::to_string(id));
    taken_[id] = true;
    if (special != special_.end()) {
      tokens_[id] = name;
    } else if (std::optional<std::string> bytes = bytes_of_characters(name); bytes && !bytes->empty()) {
      tokens_[id] = std::move(*bytes);
    } else {
      place_.fail(where, "'" + name + "' has a character that stands for no byte, so that this is no byte-level " +
                             "vocabulary; a special token has to be in added_tokens");
    }
    id_of_name_.emplace(name, id);
  }

  void find_bytes(const std::string& where) const {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const std::string name = characters_of_bytes(std::string(1, static_cast<char>(byte)));
      if (id_of_name_.contains(name) && !special_.contains(name)) continue;
      place_.fail(where, "no token for byte " + std::to_string(byte) + " ('" + name +
                             "'), which a text may have: train it with the alphabet of all bytes "
                             "(initial_alphabet=ByteLevel.alphabet())");
    }
  }

  void choose_end_of_text(VocabularyParts& parts) const {
    for (const std::string_view name : kEndOfTextNames) {
      const auto found = special_.find(std::string(name));
      if (found == special_.end()) continue;
      parts.end_of_text = found->second;
      return;
    }
    if (special_.size() == 1) {
      parts.end_of_text = special_.begin()->second;
      return;
    }
    if (!special_.empty()) place_.fail("added_tokens", "none of the special tokens is <|endoftext|>, </s> or <eos>");
    parts.end_of_text = static_cast<std::uint32_t>(parts.tokens.size());
    parts.special = {parts.end_of_text};
    parts.tokens.emplace_back(kEndOfText);
  }

  const Place& place_;
  std::unordered_map<std::string, std::uint32_t> special_;
  std::unordered_map<std::string, std::uint32_t> id_of_name_;
  std::vector<std::string> tokens_;
  std::vector<bool> taken_;
  std::vector<TokenMerge> merges_;
  std::unordered_set<std::uint64_t> pairs_;
};

void check_pipeline(const Json& json, const Place& place) {
  for (const char* const name : {"normalizer", "truncation", "padding"})
    if (!member(json, name).is_null()) place.refuse(name, type_of(member(json, name)));
  const Json& splitting = member(json, "pre_tokenizer");
  if (splitting.is_null()) place.refuse("pre_tokenizer", "none");
  if (type_of(splitting) != "ByteLevel") place.refuse("pre_tokenizer", type_of(splitting));
  if (is_true(splitting, "add_prefix_space", true)) place.refuse("pre_tokenizer", "ByteLevel with add_prefix_space");
  if (!is_true(splitting, "use_regex", true)) place.refuse("pre_tokenizer", "ByteLevel without use_regex");
  for (const char* const name : {"post_processor", "decoder"}) {
    const Json& part = member(json, name);
    if (!part.is_null() && type_of(part) != "ByteLevel") place.refuse(name, type_of(part));
  }
}

void check_model(const Json& model, const Place& place) {
  if (!model.is_object()) place.fail("model", "missing; expected a tokenizer.json, or vocab.json with merges.txt");
  const Json& type = member(model, "type");
  if (!type.is_null() && type != "BPE") place.refuse("model.type", type_of(type));
  const Json& dropout = member(model, "dropout");
  if (!dropout.is_null() && dropout != 0.0) place.refuse("model.dropout", shortened(dropout));
  for (const char* const name : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const Json& affix = member(model, name);
    const bool is_none = affix.is_null() || (affix.is_string() && affix.get_ref<const std::string&>().empty());
    if (!is_none) place.refuse(std::string("model.") + name, shortened(affix));
  }
}

void read_added_tokens(const Json& tokens, const Place& place, ModelReader& reader) {
  if (tokens.is_null()) return;
  if (!tokens.is_array()) place.fail("added_tokens", "expected an array");
  std::uint32_t least_id = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Json& token = tokens[i];
    const std::string where = "added_tokens[" + std::to_string(i) + "]";
    if (!token.is_object() || !member(token, "content").is_string())
      place.fail(where, "expected an object with content");
    const auto name = member(token, "content").get<std::string>();
    if (!is_true(token, "special", false)) place.refuse(where, "'" + name + "', an added token that is not special,");
    for (const char* const way : {"single_word", "lstrip", "rstrip"})
      if (is_true(token, way, false)) place.refuse(where, std::string(way) + " of '" + name + "'");
    const std::uint32_t id = checked_id(member(token, "id"), [&] {
      place.fail(where + ".id", "expected an id below " + std::to_string(kMaximumTokens));
    });
    if (id < least_id) place.fail(where + ".id", "expected ids in rising order");
    least_id = id;
    reader.add_special(name, id, where);
  }
}

void read_merge_list(const Json& merges, const Place& place, ModelReader& reader) {
  if (!merges.is_array()) place.fail("model.merges", "expected an array");
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const Json& merge = merges[i];
    const auto fail = [&](const std::string& problem) {
      place.fail("model.merges[" + std::to_string(i) + "]", problem);
    };
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      reader.add_merge(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>(), fail);
      continue;
    }
    const std::string both = merge.is_string() ? merge.get<std::string>() : "";
    const std::size_t space = both.find(' ');
    if (space == std::string::npos) fail("expected two tokens: [\"a\", \"b\"] or \"a b\"");
    reader.add_merge(both.substr(0, space), both.substr(space + 1), fail);
  }
}

using Ordered = nlohmann::ordered_json;
constexpr std::string_view kNoIds = "{}";

std::vector<std::string> names_of(const VocabularyParts& parts) {
  std::vector<std::string> names;
  for (const std::string& token : parts.tokens) {
    const bool special = std::binary_search(parts.special.begin(), parts.special.end(), names.size());
    names.push_back(special ? token : characters_of_bytes(token));
  }
  return names;
}

Ordered model_json(const VocabularyParts& parts, const std::vector<std::string>& names) {
  Ordered merges = Ordered::array();
  for (const TokenMerge& merge : parts.merges) merges.push_back({names[merge.left], names[merge.right]});
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", parts.merging != Merging::kListed},
          {"vocab", Ordered::object()},
          {"merges", merges}};
}

}  // namespace

VocabularyParts read_tokenizer_json(const fs::path& file, std::string_view content) {
  const Json json = parse(file, content);
  const Place place(file);
  if (!json.is_object()) place.fail("", "expected an object");
  const Json& model = member(json, "model");
  check_model(model, place);
  check_pipeline(json, place);
  ModelReader reader(place);
  read_added_tokens(member(json, "added_tokens"), place, reader);
  reader.read_ids(member(model, "vocab"), "model.vocab");
  read_merge_list(member(model, "merges"), place, reader);
  return std::move(reader).finish(is_true(model, "ignore_merges", false) ? Merging::kListedAfterWholeWords
                                                                         : Merging::kListed);
}

VocabularyParts read_pair(const VocabularyPair& pair) {
  const Json ids = parse(pair.ids_file, pair.ids);
  const Place place(pair.ids_file);
  if (!ids.is_object()) place.fail("", "expected an object of tokens and their ids");
  ModelReader reader(place);
  for (const std::string_view name : kEndOfTextNames) {
    const Json& id = member(ids, std::string(name).c_str());
    if (id.is_null()) continue;
    reader.add_special(std::string(name), checked_id(id, [&] { place.fail(std::string(name), "expected an id"); }), "");
    break;
  }
  reader.read_ids(ids, "");
  TwoFieldLines lines(pair.merges_file, pair.merges);
  while (lines.next()) {
    const auto [left, right] = lines.fields();
    reader.add_merge(std::string(left), std::string(right), [&](const std::string& problem) { lines.fail(problem); });
  }
  return std::move(reader).finish(Merging::kListed);
}

std::string tokenizer_json(const Vocabulary& vocabulary) {
  VocabularyParts parts;
  for (std::uint32_t id = 0; id < vocabulary.size(); ++id) parts.tokens.emplace_back(vocabulary.token_bytes(id));
  parts.merges = vocabulary.merges();
  parts.special = vocabulary.special_tokens();
  parts.end_of_text = vocabulary.end_of_text();
  parts.merging = vocabulary.takes_whole_words() ? Merging::kListedAfterWholeWords : Merging::kListed;
  return tokenizer_json(parts);
}

std::string tokenizer_json(const VocabularyParts& parts) {
  const std::vector<std::string> names = names_of(parts);
  Ordered added = Ordered::array();
  for (const std::uint32_t id : parts.special) {
    added.push_back({{"id", id},
                     {"content", names[id]},
                     {"single_word", false},
                     {"lstrip", false},
                     {"rstrip", false},
                     {"normalized", false},
                     {"special", true}});
  }
  const auto byte_level = [](bool prefix) {
    return Ordered{{"type", "ByteLevel"}, {"add_prefix_space", prefix}, {"trim_offsets", true}, {"use_regex", true}};
  };
  const Ordered json = {
      {"version", "1.0"},          {"truncation", nullptr},       {"padding", nullptr},
      {"added_tokens", added},     {"normalizer", nullptr},       {"pre_tokenizer", byte_level(false)},
      {"post_processor", nullptr}, {"decoder", byte_level(true)}, {"model", model_json(parts, names)}};
  // An ordered object looks a key up among all that there are, so the ids are put in their place as text.
  std::string ids;
  for (std::size_t id = 0; id < names.size(); ++id)
    ids += (id == 0 ? "{" : ",") + Json(names[id]).dump() + ":" + std::to_string(id);
  std::string text = json.dump();
  const std::string place = "\"vocab\":" + std::string(kNoIds);
  return text.replace(text.find(place) + place.size() - kNoIds.size(), kNoIds.size(), ids + "}") + "\n";
}

}  // namespace kangpt::data
