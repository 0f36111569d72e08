package main

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed texts
var textFiles embed.FS

// words are the texts of one language.
type words struct {
	lang  string
	texts map[string]string
}

// language picks one of ours by the locale. Where there is none (Windows, a
// service) it is German: the people are.
func language(env func(string) string) string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		if v := env(name); v != "" {
			if strings.HasPrefix(v, "de") {
				return "de"
			}
			return "en"
		}
	}
	return "de"
}

func wordsFor(lang string) words {
	w := words{lang: lang}
	data, err := textFiles.ReadFile("texts/" + lang + ".json")
	if err == nil {
		err = json.Unmarshal(data, &w.texts)
	}
	if err != nil {
		panic(err) // embedded, and read by a test
	}
	return w
}

// text gives the text of key, with args in its places.
func (w words) text(key string, args ...any) string {
	text, ok := w.texts[key]
	if !ok {
		return key // a test holds that this never happens
	}
	if len(args) == 0 {
		return text
	}
	return fmt.Sprintf(text, args...)
}
