package main

func (f *fleet) sessionMemory() (string, error) { return "", nil }
