package update

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"hausmeister/agent/update/journal"
	"hausmeister/platform/layout"
)

// Wishes are what the person at the device wants; WishFolder is where they lie.
type Wishes interface {
	// Wish is which wish there is that an update to version comes a day later; "" = none.
	// It takes away those for other versions: whoever had one meant no other update.
	Wish(version string) string
	// Heard takes away the one for version.
	Heard(version string)
}

// WishFolder is a folder in which everybody at the machine may put something, and only
// the administrator reads and removes. A wish is that something is there under the
// update's name, so that it is there or not at each moment, and nobody opens what
// anybody made: it may be a pipe. It costs a day more, three at most, whoever made it.
type WishFolder string

const (
	wishPrefix = "postpone-update" // alone it was any version's
	// maxNames is how many names are looked at in a folder that anybody may fill.
	maxNames = 1000
)

func (f WishFolder) path(version string) string {
	return filepath.Join(string(f), wishPrefix+"-"+version)
}

// Make is fs.ErrExist where one is there that was not taken up yet: both are one. It
// takes no rename, for which one would have to read the folder.
func (f WishFolder) Make(version string) error {
	if err := layout.CheckVersion(version); err != nil {
		return err
	}
	file, err := os.OpenFile(f.path(version), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// Waits says whether one is there that was not taken up yet, to whoever may know.
func (f WishFolder) Waits(version string) bool {
	_, err := os.Lstat(f.path(version))
	return err == nil && layout.CheckVersion(version) == nil
}

// Wish is told from the one before by the time at which it was made.
func (f WishFolder) Wish(version string) string {
	if layout.CheckVersion(version) != nil {
		return ""
	}
	for _, name := range f.names() {
		if strings.HasPrefix(name, wishPrefix) && name != filepath.Base(f.path(version)) {
			f.remove(name)
		}
	}
	info, err := os.Lstat(f.path(version))
	if err != nil {
		return ""
	}
	return strconv.FormatInt(info.ModTime().UnixNano(), 36)
}

// Heard leaves what cannot be removed; that it was heard is in the journal.
func (f WishFolder) Heard(version string) { f.remove(filepath.Base(f.path(version))) }

func (f WishFolder) names() []string {
	d, err := os.Open(string(f))
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(maxNames)
	return names
}

// remove frees a name. A folder with something in it is put aside, where it is no wish
// any more: going through what a user made, who may go on with it, could last for ever.
func (f WishFolder) remove(name string) {
	path := filepath.Join(string(f), name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = os.Rename(path, filepath.Join(string(f), "aside-"+strconv.FormatInt(time.Now().UnixNano(), 36)))
	}
}

// nobody wishes anything.
type nobody struct{}

func (nobody) Wish(string) string { return "" }
func (nobody) Heard(string)       {}

// wished takes what the person at the device said since. The file goes last: what the
// journal does not have yet is there after a crash, and what it has counts once.
func (u *Updater) wished(ctx context.Context, j journal.Journal) (journal.Journal, error) {
	// At rest it is left: the status may say for a minute what was, and the next lease of
	// that program comes.
	if resting(j) {
		return j, nil
	}
	wish := u.c.Wishes.Wish(j.Next.Version)
	if wish == "" {
		return j, nil
	}
	if isNew(wish, j) {
		next, err := u.do(ctx, journal.Event{Kind: journal.Postpone, Wish: wish})
		switch {
		case errors.Is(err, journal.ErrNotNow) && !postponable(j): // else the launcher wrote something meanwhile: once more
			u.c.Log.Info("an update cannot be postponed any more", "version", j.Next.Version)
		case err != nil:
			return j, err
		default:
			j = next
		}
	}
	u.c.Wishes.Heard(j.Next.Version)
	return j, nil
}

// postponable says whether one wish more counts.
func postponable(j journal.Journal) bool { return preparing(j) && j.Postpones < maxPostpones }

// putOff says whether it is a wish that j waits for.
func putOff(j journal.Journal) bool {
	return j.PutOff.Sum == j.Next.Sum && j.PutOff.Until == j.NotBefore
}

func isNew(wish string, j journal.Journal) bool {
	return wish != j.PutOff.Wish || j.PutOff.Sum != j.Next.Sum
}
