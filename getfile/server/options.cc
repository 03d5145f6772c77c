#include "getfile/server/options.h"

namespace ds::getfile {

absl::Status ServerOptions::Validate() const {
  if (revalidate_s < 0) return InvalidArgument("--revalidate: negative");
  return front.Validate();
}

}  // namespace ds::getfile
