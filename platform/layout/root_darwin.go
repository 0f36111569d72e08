package layout

func defaultRoot() string { return "/Library/Application Support/Hausmeister" }
