"""Run a bundle on Android through adb."""
