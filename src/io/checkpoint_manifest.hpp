// manifest.textproto of a checkpoint: text to and from checked values. The grammar: FORMATS.md.
#pragma once

#include <string>
#include <string_view>

#include "io/checkpoint.hpp"

namespace kangpt::io {

inline constexpr const char* kManifestName = "manifest.textproto";

// The last line is the SHA-256 of all lines before it. Throws CheckpointError if the manifest contradicts itself, so
// that nothing is written that could not be read.
std::string manifest_to_text(const CheckpointManifest& manifest);

// Throws CheckpointError that begins with "FILE: ". Guarantees for the result: files are named state-RR-of-NN.h5 in
// order (so none leads out of the folder) and cover [0, flat_size) without gap or overlap; parameters lie in the table
// without overlap, the table inside [0, flat_size); names are unique and of letters, digits, '.', '_' and '-'; sizes
// match shapes.
CheckpointManifest parse_manifest(std::string_view text, const std::string& file);

}  // namespace kangpt::io
