package access

import "strings"

// Client says what sort of browser opened a session: so much that a person can tell
// her sessions apart, and no more. Both words come from fixed lists, "" = none of them;
// no version, no address and nothing else that a browser says of itself is kept.
type Client struct {
	Browser string // of Browsers
	System  string // of Systems
}

// A browser names those it wants to be taken for after itself, so the first that is
// found counts: Edge says that it is Chrome, and Chrome that it is Safari.
var (
	browserMarks = [][2]string{{"Edg", "edge"}, {"OPR/", "opera"}, {"SamsungBrowser/", "samsung"}, {"Firefox/", "firefox"}, {"FxiOS/", "firefox"},
		{"CriOS/", "chrome"}, {"Chrome/", "chrome"}, {"Chromium/", "chrome"}, {"Safari/", "safari"}}
	systemMarks = [][2]string{{"iPhone", "ios"}, {"iPad", "ios"}, {"Android", "android"}, {"CrOS", "chromeos"}, {"Windows", "windows"},
		{"Macintosh", "macos"}, {"Linux", "linux"}}
)

// Browsers and Systems are the words that a Client can have, beside none.
var (
	Browsers = []string{"chrome", "edge", "firefox", "opera", "safari", "samsung"}
	Systems  = []string{"android", "chromeos", "ios", "linux", "macos", "windows"}
)

// clientOf reads the User-Agent of a request.
func clientOf(agent string) Client {
	find := func(marks [][2]string) string {
		for _, m := range marks {
			if strings.Contains(agent, m[0]) {
				return m[1]
			}
		}
		return ""
	}
	return Client{find(browserMarks), find(systemMarks)}
}
