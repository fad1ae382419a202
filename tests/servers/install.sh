#!/bin/sh
# Installs what tests marked `server` talk to: an RTSP server, Redis, an MQTT broker and a browser.
# Needs root and apt; where it cannot, those tests skip with the reason (except under CI=true).
set -eu
PACKAGES="gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad python3-gi redis-server mosquitto chromium ffmpeg"
have() {
    PATH="$PATH:/usr/sbin"
    for program in redis-server mosquitto chromium ffprobe; do command -v "$program" >/dev/null || return 1; done
    /usr/bin/python3 -c 'import gi; gi.require_version("GstRtspServer", "1.0")' 2>/dev/null
}
have && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing test servers: $PACKAGES"
    export DEBIAN_FRONTEND=noninteractive
    # RUNLEVEL=1 keeps the packages from starting services of their own.
    { apt-get update -q && RUNLEVEL=1 apt-get install -y -q --no-install-recommends $PACKAGES; } >/tmp/groundstream-apt.log 2>&1 ||
        { tail -n 20 /tmp/groundstream-apt.log; echo "could not install the test servers; their tests will skip"; }
else
    echo "not root or no apt: tests that need a server or a browser may skip"
fi
