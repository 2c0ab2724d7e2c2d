package cmd

import (
	"fmt"

	"github.com/spf13/cobra"
)

func newConfig(a *app) *cobra.Command {
	show := &cobra.Command{
		Use:   "show",
		Short: "Show each setting, its value and what made it win",
		Long: "Show each setting that files and the environment may give a default for, the\n" +
			"value that won, and why. A flag wins over a variable FSENC_..., that over the\n" +
			"user's file, that over /etc/fsenc.toml. Secrets are no settings.",
		Args: operands(),
		RunE: func(*cobra.Command, []string) error { return a.configShow() },
	}
	return newGroup("config", groupOther, "Show the configuration", "", show)
}

// jsonSetting is one setting in JSON.
type jsonSetting struct {
	Setting string `json:"setting"`
	Value   any    `json:"value"`
	Origin  string `json:"origin"`
}

func (a *app) configShow() error {
	list := make([]jsonSetting, 0, len(settingKeys))
	for _, s := range settingKeys {
		list = append(list, jsonSetting{s.key, a.set.value(s.key), a.origins[s.key]})
	}
	if a.json() {
		return a.emit(struct {
			header
			Files    []string      `json:"files"`
			Settings []jsonSetting `json:"settings"`
		}{headerOf("config show"), a.configFiles(), list})
	}
	t := newTable(a.out, "SETTING", "VALUE", "FROM")
	for _, s := range list {
		t.row(s.Setting, or(fmt.Sprint(s.Value), "-"), s.Origin)
	}
	return t.flush()
}
