//go:build assets

package main

// components is empty: this executable supervises those that --assets names.
var components = map[string]func(){}
