#include "compute/zmq/worker.h"

int main(int argc, char** argv) {
  return ds::compute::zmq::RunWorker(ds::compute::Command::Kind::kIsPrime, "zmq-prime",
                                     "Tests numbers for zmq-server: whether they are prime.", argc,
                                     argv);
}
