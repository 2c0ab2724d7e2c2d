package cmd

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// settings are the values for which files and the environment may give
// defaults. Secrets are none of them.
type settings struct {
	Format           string        `mapstructure:"format"`
	Color            string        `mapstructure:"color"`
	Progress         string        `mapstructure:"progress"`
	ProgressInterval time.Duration `mapstructure:"progress-interval"`
	Quiet            bool          `mapstructure:"quiet"`
	Verbose          int           `mapstructure:"verbose"`
	NonInteractive   bool          `mapstructure:"non-interactive"`
	Contents         string        `mapstructure:"contents"`
	Filenames        string        `mapstructure:"filenames"`
	Padding          int           `mapstructure:"padding"`
	Wipe             bool          `mapstructure:"wipe"`
}

// settingKeys names the fields of settings in the order of config show, with
// the value that holds when nothing else does.
var settingKeys = []struct {
	key  string
	base any
}{
	{"format", "text"},
	{"color", "auto"},
	{"progress", "auto"},
	{"progress-interval", time.Second},
	{"quiet", false},
	{"verbose", 0},
	{"non-interactive", false},
	{"contents", ""},
	{"filenames", ""},
	{"padding", 32},
	{"wipe", true},
}

// settingWords lists what a setting may be, where words are all it takes.
var settingWords = map[string][]string{
	"format":   {"text", "json"},
	"color":    {"auto", "always", "never"},
	"progress": {"auto", "line", "json", "none"},
	"padding":  {"4", "8", "16", "32"},
}

// envName is the variable that gives a setting its default.
func envName(key string) string {
	return "FSENC_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// systemConfig is read where the user has no file that says otherwise.
const systemConfig = "/etc/fsenc.toml"

// configFiles lists the files to read, the weakest first.
func (a *app) configFiles() []string {
	if a.flags.config != "" {
		return []string{a.flags.config}
	}
	files := []string{systemConfig}
	if dir, err := os.UserConfigDir(); err == nil {
		files = append(files, filepath.Join(dir, "fsenc", "config.toml"))
	}
	return files
}

// loadSettings finds the value of each setting that wins: a flag over the
// environment over the user's file over the system's, and notes why.
func (a *app) loadSettings(flags *pflag.FlagSet) error {
	v := viper.New()
	a.origins = map[string]string{}
	for _, s := range settingKeys {
		v.SetDefault(s.key, s.base)
		a.origins[s.key] = "default"
	}
	for _, file := range a.configFiles() {
		if err := a.mergeFile(v, file); err != nil {
			return err
		}
	}
	for _, s := range settingKeys {
		if err := a.bind(v, s.key, settingFlag(flags, s.key)); err != nil {
			return err
		}
	}
	if a.flags.json {
		v.Set("format", "json")
		a.origins["format"] = "flag --json"
	}
	if err := a.checkSettings(v); err != nil {
		return err
	}
	if err := v.UnmarshalExact(&a.set); err != nil {
		return usagef("settings: %v", err)
	}
	return a.applySettings(v, flags)
}

// ownMeaning annotates a flag that shares no more than the name with a setting.
const ownMeaning = "fsenc_own_meaning"

// settingFlag is the flag of a command that overrides a setting, nil if it has
// none.
func settingFlag(flags *pflag.FlagSet, key string) *pflag.Flag {
	f := flags.Lookup(key)
	if f == nil {
		return nil
	}
	if _, own := f.Annotations[ownMeaning]; own {
		return nil
	}
	return f
}

// applySettings gives flags of the command the defaults that files and the
// environment have for them. Such a flag does not count as given.
func (a *app) applySettings(v *viper.Viper, flags *pflag.FlagSet) error {
	for _, s := range settingKeys {
		flag := settingFlag(flags, s.key)
		if flag == nil || flag.Changed || a.origins[s.key] == "default" {
			continue
		}
		if err := flag.Value.Set(v.GetString(s.key)); err != nil {
			return usagef("%s (%s): %v", s.key, a.origins[s.key], err)
		}
	}
	return nil
}

// bind lets the environment and a flag of the command override a setting.
func (a *app) bind(v *viper.Viper, key string, flag *pflag.Flag) error {
	env := envName(key)
	if err := v.BindEnv(key, env); err != nil {
		return err
	}
	if os.Getenv(env) != "" {
		a.origins[key] = "environment " + env
	}
	if flag == nil || !flag.Changed {
		return nil
	}
	a.origins[key] = "flag --" + key
	return v.BindPFlag(key, flag)
}

// mergeFile puts the settings of one file over those of weaker ones. Only a
// file that --config names has to exist.
func (a *app) mergeFile(v *viper.Viper, file string) error {
	one := viper.New()
	one.SetConfigFile(file)
	one.SetConfigType("toml")
	err := one.ReadInConfig()
	if errors.Is(err, fs.ErrNotExist) && a.flags.config == "" {
		return nil
	}
	if err != nil {
		return usagef("configuration file %s: %v", file, unwrapPath(err))
	}
	for _, key := range one.AllKeys() {
		if err := checkKey(file, key); err != nil {
			return err
		}
		a.origins[key] = "file " + file
	}
	return v.MergeConfigMap(one.AllSettings())
}

// checkKey refuses what is no setting, and secrets with the reason.
func checkKey(file, key string) error {
	for _, s := range settingKeys {
		if s.key == key {
			return nil
		}
	}
	e := usagef("configuration file %s: unknown setting %q", file, key)
	if strings.Contains(key, "key") || strings.Contains(key, "pass") {
		e.hint = "a configuration file never holds secrets: use --key-file or --passphrase-file"
	}
	return e
}

// checkSettings refuses values that no flag would take, and says where they
// come from.
func (a *app) checkSettings(v *viper.Viper) error {
	for key, words := range settingWords {
		if got := v.GetString(key); !slices.Contains(words, got) {
			return usagef("%s (%s): %q is none of %s", key, a.origins[key], got, strings.Join(words, ", "))
		}
	}
	if v.GetDuration("progress-interval") <= 0 {
		return usagef("progress-interval (%s): must be a time above 0, like 500ms or 2s", a.origins["progress-interval"])
	}
	return nil
}

// value returns the winning value of a setting.
func (s *settings) value(key string) any {
	return map[string]any{
		"format": s.Format, "color": s.Color, "progress": s.Progress,
		"progress-interval": s.ProgressInterval.String(), "quiet": s.Quiet, "verbose": s.Verbose,
		"non-interactive": s.NonInteractive, "contents": s.Contents, "filenames": s.Filenames,
		"padding": s.Padding, "wipe": s.Wipe,
	}[key]
}
