package finding

import "testing"

// TestPlainName: what package lists of Windows put behind a name is no part of it.
func TestPlainName(t *testing.T) {
	for name, want := range map[string]string{
		"mozilla firefox (x64 de)": "mozilla firefox", "7-zip 24.08 (x64)": "7-zip", "libreoffice 25.8.3.2": "libreoffice",
		"firefox-esr": "firefox-esr", "microsoft 365": "microsoft 365", "(x64)": "(x64)", "1.2": "1.2", "python 3.12.1 (64-bit)": "python",
		"vlc media player": "vlc media player", "tool v2.1": "tool", "": "", "a (b) c": "a (b) c",
	} {
		if got := plainName(name); got != want {
			t.Errorf("plainName(%q) = %q, want %q", name, got, want)
		}
	}
}
