// Protobuf messages as text that is sealed (base/seal.hpp): what manifests are on disk.
#pragma once

#include <string>
#include <string_view>

namespace google::protobuf {
class Message;
}

namespace kangpt::message {

// `message` in text format and the line with its digest. Lists of numbers stand in brackets.
std::string sealed_text(const google::protobuf::Message& message);

// Reads what sealed_text() has written. "", or what is wrong, to stand right behind the file's name: ": the last line
// is not ...", ":12:3: ...".
std::string read_sealed_text(std::string_view text, google::protobuf::Message& message);

}  // namespace kangpt::message
