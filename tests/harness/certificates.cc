#include "tests/harness/certificates.h"

#include <vector>

#include "common/base/check.h"
#include "tests/harness/run_tool.h"

namespace ds::testing {
namespace {

void OpenSsl(const std::vector<std::string>& arguments) {
  const ToolResult made = RunTool("openssl", arguments);
  CHECK(made.exit_code == 0, made.err);
}

}  // namespace

CertificateAuthority::CertificateAuthority(const std::string& name) {
  OpenSsl({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
           "-keyout", folder_.path("ca.key"), "-out", file(), "-days", "2", "-subj",
           "/CN=" + name});
}

CertificateFiles CertificateAuthority::Issue(const std::string& name, const std::string& address) {
  CertificateFiles files{folder_.path(name + ".pem"), folder_.path(name + ".key")};
  const std::string request = folder_.path(name + ".csr");
  OpenSsl({"req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
           files.key, "-out", request, "-subj", "/CN=" + name});
  const std::string names =
      folder_.Write(name + ".ext", "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost" +
                                       (address.empty() ? "" : ",IP:" + address) + "\n");
  OpenSsl({"x509", "-req", "-in", request, "-CA", file(), "-CAkey", folder_.path("ca.key"),
           "-CAcreateserial", "-out", files.cert, "-days", "2", "-extfile", names});
  return files;
}

}  // namespace ds::testing
