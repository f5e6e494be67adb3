// The safetensors format: the header's size (8 bytes, little-endian), a JSON header of names, dtypes, shapes and
// offsets, then the values, row-major. https://huggingface.co/docs/safetensors
//
// Nothing in a file is believed before it is checked: sizes are compared with the file's own size before memory is
// asked for.
#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include "check.h"
#include "cnnx/io.h"
#include "io/atomic_file.h"
#include "tensor_impl.h"

namespace cnnx {
namespace {

using Json = nlohmann::ordered_json;
static_assert(std::endian::native == std::endian::little, "safetensors values are little-endian");

constexpr uint64_t kMaxHeader = 100'000'000;  // the reference implementation's limit

/// A value type of the format, what it becomes here, and the conversion of `count` values (null: the bytes are copied).
struct FileDType {
  std::string_view name;
  int64_t bytes;
  DType dtype;
  void (*convert)(int64_t count, const char* from, void* to);
};

template <class From, class To>
void widen(int64_t count, const char* from, void* to) {
  for (int64_t i = 0; i < count; ++i) {
    From value;
    std::memcpy(&value, from + i * static_cast<int64_t>(sizeof(From)), sizeof(From));
    static_cast<To*>(to)[i] = static_cast<To>(value);
  }
}

void bytes_to_bool(int64_t count, const char* from, void* to) {
  for (int64_t i = 0; i < count; ++i) static_cast<bool*>(to)[i] = from[i] != 0;
}

constexpr FileDType kFileDTypes[] = {
    {"F64", 8, DType::kFloat64, nullptr},
    {"F32", 4, DType::kFloat32, nullptr},
    {"F16", 2, DType::kFloat16, nullptr},
    {"BF16", 2, DType::kBFloat16, nullptr},
    {"I64", 8, DType::kInt64, nullptr},
    {"I32", 4, DType::kInt64, widen<int32_t, int64_t>},
    {"I16", 2, DType::kInt64, widen<int16_t, int64_t>},
    {"I8", 1, DType::kInt64, widen<int8_t, int64_t>},
    {"U8", 1, DType::kInt64, widen<uint8_t, int64_t>},
    {"BOOL", 1, DType::kBool, bytes_to_bool},
};

std::string_view file_dtype(DType dtype) {
  const auto* const found = std::find_if(std::begin(kFileDTypes), std::end(kFileDTypes), [&](const FileDType& known) {
    return known.dtype == dtype && known.bytes == dtype_size(dtype);
  });
  return found->name;
}

struct Entry {
  std::string name;
  const FileDType* dtype = nullptr;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

/// Errors that name the file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  SafeTensors read() {
    open();
    const Json header = parse(read_header());
    SafeTensors result;
    std::vector<Entry> entries;
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__") {
        result.metadata = metadata_of(value);
      } else {
        entries.push_back(entry_of(name, value));
      }
    }
    check_layout(entries);
    for (const Entry& entry : entries) result.tensors.emplace_back(entry.name, read_tensor(entry));
    return result;
  }

 private:
  template <class... Args>
  void require(bool condition, std::string_view text, const Args&... args) const {
    if (!condition) fail("load", "{} is not a valid safetensors file: {}.", path_, format(text, args...));
  }

  void open() {
    std::error_code error;
    check<std::runtime_error>(std::filesystem::is_regular_file(path_, error), "load", "there is no file {}.", path_);
    size_ = std::filesystem::file_size(path_, error);
    file_.open(path_, std::ios::binary);
    check<std::runtime_error>(!error && file_.is_open(), "load", "cannot read {}.", path_);
  }

  void read_bytes(char* to, uint64_t count) {
    file_.read(to, static_cast<std::streamsize>(count));
    require(static_cast<uint64_t>(file_.gcount()) == count, "it ended while it was read");
  }

  std::string read_header() {
    require(size_ >= 8, "it has {} bytes, too few for a header", size_);
    uint64_t length = 0;
    read_bytes(reinterpret_cast<char*>(&length), 8);
    require(length <= kMaxHeader, "its header claims {} bytes, more than {}", length, kMaxHeader);
    require(length <= size_ - 8, "its header claims {} bytes, but the file has {}", length, size_);
    std::string header(length, '\0');
    read_bytes(header.data(), length);
    data_size_ = size_ - 8 - length;
    return header;
  }

  Json parse(const std::string& text) const {
    require(!text.empty() && text[0] == '{', "its header is no JSON object");
    std::vector<std::set<std::string>> keys;  // of the objects that are open
    bool repeated = false;
    const auto watch = [&](int depth, Json::parse_event_t event, Json& value) {
      if (depth > 8) throw std::invalid_argument("nested too deeply");
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key)
        repeated = !keys.back().insert(value.get<std::string>()).second || repeated;
      return true;
    };
    Json header;
    try {
      header = Json::parse(text, watch);
    } catch (const std::exception&) {
      require(false, "its header is not valid JSON");
    }
    require(!repeated, "its header names a key twice");
    return header;
  }

  Metadata metadata_of(const Json& value) const {
    require(value.is_object(), "its metadata is no JSON object");
    Metadata metadata;
    for (const auto& [key, text] : value.items()) {
      require(text.is_string(), "its metadata \"{}\" is no string", key);
      metadata[key] = text.get<std::string>();
    }
    return metadata;
  }

  uint64_t size_of(const std::string& name, const Json& value) const {
    require(value.is_number_unsigned(), "tensor \"{}\" has a size or offset that is no natural number", name);
    return value.get<uint64_t>();
  }

  Entry entry_of(const std::string& name, const Json& value) const {
    const bool complete =
        value.is_object() && value.contains("dtype") && value.contains("shape") && value.contains("data_offsets");
    require(complete && value["dtype"].is_string() && value["shape"].is_array() && value["data_offsets"].is_array() &&
                value["data_offsets"].size() == 2,
            "tensor \"{}\" lacks a dtype, a shape or two data offsets", name);
    Entry entry;
    entry.name = name;
    const auto dtype = value["dtype"].get<std::string>();
    for (const FileDType& known : kFileDTypes) {
      if (known.name == dtype) entry.dtype = &known;
    }
    require(entry.dtype != nullptr, "tensor \"{}\" has the dtype {}, which cnnx cannot read", name, dtype);
    require(value["shape"].size() <= Shape::kMaxRank, "tensor \"{}\" has {} axes, more than {}", name,
            value["shape"].size(), Shape::kMaxRank);
    uint64_t room = data_size_ / static_cast<uint64_t>(entry.dtype->bytes), count = 1;
    for (const Json& length : value["shape"]) {
      const uint64_t size = size_of(name, length);
      require(size <= room || size <= static_cast<uint64_t>(INT64_MAX), "tensor \"{}\" has an axis of {}", name, size);
      entry.shape.push_back(static_cast<int64_t>(size));
    }
    for (const int64_t length : entry.shape) {
      const auto size = static_cast<uint64_t>(length);
      require(size == 0 || count == 0 || count <= UINT64_MAX / 16 / size,
              "tensor \"{}\" has the shape {}, more values than there can be", name, entry.shape);
      count *= size;
    }
    entry.begin = size_of(name, value["data_offsets"][0]);
    entry.end = size_of(name, value["data_offsets"][1]);
    require(entry.begin <= entry.end && entry.end <= data_size_, "tensor \"{}\" lies at bytes {} to {} of {}", name,
            entry.begin, entry.end, data_size_);
    require(entry.end - entry.begin == count * static_cast<uint64_t>(entry.dtype->bytes),
            "tensor \"{}\" of shape {} and dtype {} has {} bytes", name, entry.shape, dtype, entry.end - entry.begin);
    return entry;
  }

  /// Tensors must follow each other without overlap or gap and fill the file.
  void check_layout(std::vector<Entry>& entries) const {
    std::sort(entries.begin(), entries.end(),
              [](const Entry& a, const Entry& b) { return std::pair(a.begin, a.end) < std::pair(b.begin, b.end); });
    uint64_t at = 0;
    for (const Entry& entry : entries) {
      require(entry.begin >= at, "tensor \"{}\" overlaps the one before it", entry.name);
      require(entry.begin == at, "there are {} unused bytes before tensor \"{}\"", entry.begin - at, entry.name);
      at = entry.end;
    }
    require(at == data_size_, "there are {} bytes after the last tensor", data_size_ - at);
  }

  Tensor read_tensor(const Entry& entry) {
    Tensor tensor = empty(entry.shape, {entry.dtype->dtype});
    const uint64_t bytes = entry.end - entry.begin;
    if (!entry.dtype->convert) {
      read_bytes(static_cast<char*>(tensor.raw_data()), bytes);
      return tensor;
    }
    std::vector<char> buffer(bytes);
    read_bytes(buffer.data(), bytes);
    entry.dtype->convert(tensor.numel(), buffer.data(), tensor.raw_data());
    return tensor;
  }

  std::string path_;
  std::ifstream file_;
  uint64_t size_ = 0;
  uint64_t data_size_ = 0;
};

}  // namespace

SafeTensors load_safetensors(const std::string& path) { return Reader(path).read(); }

void save_safetensors(const std::string& path, const StateDict& tensors, const Metadata& metadata) {
  constexpr const char* kOp = "save";
  StateDict ordered;
  std::set<std::string> names;
  for (const auto& [name, tensor] : tensors) {
    check(tensor.defined(), kOp, "tensor \"{}\" is undefined.", name);
    check(name != "__metadata__" && names.insert(name).second, kOp, "the name \"{}\" is reserved or appears twice.",
          name);
    ordered.emplace_back(name, tensor.detach().to(Device()));
  }
  // Wide values first: everything stays aligned.
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return dtype_size(a.second.dtype()) > dtype_size(b.second.dtype());
  });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  int64_t offset = 0;
  for (const auto& [name, tensor] : ordered) {
    const int64_t bytes = tensor.numel() * dtype_size(tensor.dtype());
    header[name] = {{"dtype", file_dtype(tensor.dtype())},
                    {"shape", std::vector<int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const Json::exception&) {
    fail(kOp, "names and metadata must be valid UTF-8.");
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  check(text.size() <= kMaxHeader, kOp, "names and metadata take {} bytes; the format allows {}.", text.size(),
        kMaxHeader);
  write_atomically(path, [&](std::ostream& out) {
    const uint64_t length = text.size();
    out.write(reinterpret_cast<const char*>(&length), 8);
    out.write(text.data(), static_cast<std::streamsize>(text.size()));
    for (const auto& [name, tensor] : ordered) {
      out.write(static_cast<const char*>(tensor.raw_data()),
                static_cast<std::streamsize>(tensor.numel() * dtype_size(tensor.dtype())));
    }
  });
}

}  // namespace cnnx
