package vm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"fsenc/test/vm/job"
)

const (
	answerSize = 64 << 20 // bytes of the disk that takes the answer
	bootLimit  = 10 * time.Minute
	maxDisks   = 24
)

// Run boots the machine once with images as its disks and does mounts on them
// in order. The answer has a result for each mount; a result may hold an
// error, which is the caller's to judge.
func Run(ctx context.Context, scratch string, images []string, mounts []job.Mount) (*job.Answer, error) {
	if len(images) > maxDisks {
		return nil, fmt.Errorf("%d images, at most %d", len(images), maxDisks)
	}
	k, err := fetch()
	if err != nil {
		return nil, err
	}
	program, err := buildInit(scratch)
	if err != nil {
		return nil, err
	}
	initrd := filepath.Join(scratch, "initrd")
	if err := writeInitramfs(initrd, program, k, &job.Job{Disks: len(images), Mounts: mounts}); err != nil {
		return nil, err
	}
	answer, err := os.Create(filepath.Join(scratch, "answer"))
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	if err := answer.Truncate(answerSize); err != nil {
		return nil, err
	}
	console, err := boot(ctx, k.image, initrd, append(images, answer.Name()))
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(console))
	}
	a, err := job.ReadAnswer(answer, answerSize)
	if err != nil {
		return nil, fmt.Errorf("%w\n%s", err, tail(console))
	}
	if len(a.Results) != len(mounts) {
		return nil, fmt.Errorf("%d results for %d mounts", len(a.Results), len(mounts))
	}
	return a, nil
}

// boot returns what the machine printed.
func boot(ctx context.Context, kernel, initrd string, disks []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, bootLimit)
	defer cancel()
	args := []string{
		"-machine", "pc", "-accel", "tcg", "-cpu", "max", "-m", "768", "-no-reboot",
		"-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none",
		"-kernel", kernel, "-initrd", initrd, "-append", "console=ttyS0 panic=-1 quiet loglevel=4",
	}
	for _, d := range disks {
		args = append(args, "-drive", "if=virtio,format=raw,cache=unsafe,file="+strings.ReplaceAll(d, ",", ",,"))
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// tail returns the end of a console log.
func tail(s string) string {
	const keep = 4000
	return s[max(0, len(s)-keep):]
}
