// Command fsenc works on fscrypt-encrypted filesystem images without a kernel.
package main

import (
	"os"

	"fsenc/cmd"
)

func main() { os.Exit(cmd.Main()) }
