package layout

func defaultRoot() string { return "/opt/hausmeister" }
