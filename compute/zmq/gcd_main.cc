#include "compute/zmq/worker.h"

int main(int argc, char** argv) {
  return ds::compute::zmq::RunWorker(ds::compute::Command::Kind::kGcd, "zmq-gcd",
                                     "Computes greatest common divisors for zmq-server.", argc,
                                     argv);
}
