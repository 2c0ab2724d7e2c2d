package cmd

import (
	"fmt"
	"io"
	"os"
	"os/exec"

	"fsenc/internal/secret"
)

// runSecretCommand runs the command of --passphrase-command, without a shell
// and with the terminal as stderr, and returns what it printed.
func (a *app) runSecretCommand(line string) (*secret.Buffer, error) {
	words, err := splitWords(line)
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(a.ctx, words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("--passphrase-command: %w", err)
	}
	text, rerr := readSecret(pipe, "the output of "+words[0], secret.ReadLine)
	// What follows the first line would otherwise block the command.
	_, cerr := io.Copy(io.Discard, pipe)
	werr := cmd.Wait()
	switch {
	case a.ctx.Err() != nil:
		err = a.ctx.Err()
	case werr != nil:
		err = fmt.Errorf("--passphrase-command %s: %w", words[0], werr)
	case rerr != nil:
		err = rerr
	default:
		err = cerr
	}
	if err != nil {
		text.Wipe()
		return nil, err
	}
	return text, nil
}

// splitWords splits a command line as a shell does, without any expansion:
// blanks separate, quotes group, a backslash quotes the next byte (inside
// double quotes only a quote or a backslash).
func splitWords(line string) ([]string, error) {
	var words []string
	var word []byte
	open := false // a word has begun, maybe an empty quoted one
	quote := byte(0)
	for i := 0; i < len(line); i++ {
		c := line[i]
		next := i+1 < len(line)
		switch {
		case c == quote && quote != 0:
			quote = 0
		case quote == 0 && (c == '\'' || c == '"'):
			quote, open = c, true
		case c == '\\' && next && (quote == 0 || quote == '"' && (line[i+1] == '"' || line[i+1] == '\\')):
			i++
			word, open = append(word, line[i]), true
		case quote == 0 && (c == ' ' || c == '\t' || c == '\n'):
			if open {
				words, word, open = append(words, string(word)), nil, false
			}
		default:
			word, open = append(word, c), true
		}
	}
	if quote != 0 {
		return nil, usagef("--passphrase-command: a quote is not closed")
	}
	if open {
		words = append(words, string(word))
	}
	if len(words) == 0 {
		return nil, usagef("--passphrase-command: there is no command")
	}
	return words, nil
}
