// Package linux is what tests ask of a running kernel: mounting images, keys
// and policies of fscrypt, fs-verity, and a look at a mounted tree with all
// that a manifest records. It also makes the trees that test images are
// filled with. It needs root, and runs on the machine's own kernel as well as
// inside the virtual machine of test/vm.
package linux
