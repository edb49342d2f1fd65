#include "binding/image_jobs.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "binding/arguments.h"
#include "engine/error.h"
#include "engine/jpeg.h"

namespace repvgg {
namespace {

constexpr uint8_t kJpegMagic[] = {0xff, 0xd8, 0xff};
// More than any image of as many pixels as are allowed: what a file says of its size is not to fill the
// memory.
constexpr off_t kMostBytes = off_t{1} << 30;

struct File {
  explicit File(const std::string& path)
      : descriptor(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~File() {
    if (descriptor >= 0) close(descriptor);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  // False at an error or the end of the file.
  bool Read(uint8_t* to, size_t size) const {
    while (size > 0) {
      const ssize_t count = read(descriptor, to, size);
      if (count <= 0) return false;
      to += count;
      size -= count;
    }
    return true;
  }

  const int descriptor;
};

// The bytes of a JPEG file. Whatever else is at the path, or goes wrong, is refused: TypeScript says what it
// is.
std::vector<uint8_t> ReadJpegFile(const std::string& path) {
  // A path that holds a NUL would name another file here.
  if (path.find('\0') != std::string::npos) throw JpegRefused();
  const File file(path);
  struct stat status;
  if (file.descriptor < 0 || fstat(file.descriptor, &status) != 0 || !S_ISREG(status.st_mode) ||
      status.st_size > kMostBytes) {
    throw JpegRefused();
  }
  constexpr size_t kHead = sizeof kJpegMagic;
  std::vector<uint8_t> bytes(kHead);
  if (!file.Read(bytes.data(), kHead) || std::memcmp(bytes.data(), kJpegMagic, kHead) != 0)
    throw JpegRefused();
  bytes.resize(status.st_size);
  if (bytes.size() < kHead || !file.Read(&bytes[kHead], bytes.size() - kHead)) throw JpegRefused();
  return bytes;
}

// A file's path, or bytes: these are copied, since the caller may change or transfer them at any time.
struct JpegSource {
  explicit JpegSource(const Napi::Value& value) {
    if (value.IsString()) {
      path = value.As<Napi::String>().Utf8Value();
    } else {
      const auto array = value.As<Napi::Uint8Array>();
      bytes.assign(array.Data(), array.Data() + array.ByteLength());
    }
  }

  void Load() {
    if (!path.empty()) bytes = ReadJpegFile(path);
  }

  std::string path;
  std::vector<uint8_t> bytes;
};

// Reads until the environment goes away.
class InterruptibleReader final : public JpegReader {
 public:
  InterruptibleReader(const JpegSource& source, bool orient, const Executor& images)
      : JpegReader(source.bytes.data(), source.bytes.size(), orient), images_(images) {}

  const uint8_t* Next() override {
    if (images_.stopping()) throw Error(kAborted, "The environment is closing.");
    return JpegReader::Next();
  }

 private:
  const Executor& images_;
};

}  // namespace

// resizeCrop(pixels, width, height, geometry, out, offset): Promise<void>
Napi::Value ResizeCropJob(const Napi::CallbackInfo& info, Executor& images) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  const auto pixels = info[0].As<Napi::Uint8Array>();
  auto out = info[4].As<Napi::Uint8Array>();
  job->Keep(pixels);
  job->Keep(out);
  job->SetWork([from = pixels.Data(), width = ToInt(info[1]), height = ToInt(info[2]),
                geometry = ToGeometry(info[3].As<Napi::Object>()),
                to = out.Data() + info[5].As<Napi::Number>().Int64Value()] {
    ResizeCrop(from, width, height, geometry, to);
  });
  return images.Post(info.Env(), std::move(job));
}

// prepareJpeg(source, orient, geometry, out, offset): Promise<boolean>
Napi::Value PrepareJpegJob(const Napi::CallbackInfo& info, Executor& images) {
  auto job = std::make_unique<Executor::Job>(info.Env());
  auto out = info[3].As<Napi::Uint8Array>();
  job->Keep(out);
  auto done = std::make_shared<bool>(false);
  job->SetWork([&images, done, source = std::make_shared<JpegSource>(info[0]),
                orient = info[1].ToBoolean().Value(), geometry = ToGeometry(info[2].As<Napi::Object>()),
                to = out.Data() + info[4].As<Napi::Number>().Int64Value()] {
    try {
      source->Load();
      InterruptibleReader reader(*source, orient, images);
      ResizeCrop(reader.width(), reader.height(), geometry, reader, to);
      reader.Finish();
      *done = true;
    } catch (const JpegRefused&) {
    }
  });
  job->result = [done](Napi::Env env, Executor::Job&) { return Napi::Boolean::New(env, *done); };
  return images.Post(info.Env(), std::move(job));
}

// decodeJpeg(source, orient): Promise<{data, width, height} | null>
Napi::Value DecodeJpegJob(const Napi::CallbackInfo& info, Executor& images) {
  struct Image {
    std::vector<uint8_t> pixels;
    int width = 0;
    int height = 0;
  };
  auto job = std::make_unique<Executor::Job>(info.Env());
  auto image = std::make_shared<Image>();
  job->SetWork(
      [&images, image, source = std::make_shared<JpegSource>(info[0]), orient = info[1].ToBoolean().Value()] {
        try {
          source->Load();
          InterruptibleReader reader(*source, orient, images);
          const size_t length = size_t{3} * reader.width();
          std::vector<uint8_t> pixels(length * reader.height());
          reader.Select({0, 0, reader.width(), reader.height()});
          for (int y = 0; y < reader.height(); ++y) std::memcpy(&pixels[y * length], reader.Next(), length);
          reader.Finish();
          *image = {std::move(pixels), reader.width(), reader.height()};
        } catch (const JpegRefused&) {
        }
      });
  job->result = [image](Napi::Env env, Executor::Job&) -> Napi::Value {
    if (image->width == 0) return env.Null();
    auto data = Napi::Uint8Array::New(env, image->pixels.size());
    std::memcpy(data.Data(), image->pixels.data(), image->pixels.size());
    auto result = Napi::Object::New(env);
    result.Set("data", data);
    result.Set("width", image->width);
    result.Set("height", image->height);
    return result;
  };
  return images.Post(info.Env(), std::move(job));
}

}  // namespace repvgg
