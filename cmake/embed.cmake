# Writes the bytes of a file as a C++ array: cmake -D INPUT=file -D OUTPUT=file.cpp -D NAMESPACE=a::b -D NAME=name -P embed.cmake
file(READ ${INPUT} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1, " bytes "${bytes}")
file(WRITE ${OUTPUT} "#include <cstddef>

namespace ${NAMESPACE} {
extern const unsigned char ${NAME}[];
extern const std::size_t ${NAME}_bytes;
const unsigned char ${NAME}[] = {
${bytes}};
const std::size_t ${NAME}_bytes = sizeof ${NAME};
}  // namespace ${NAMESPACE}
")
