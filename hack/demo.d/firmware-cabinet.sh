# Run on a machine with fwupd: builds /usr/local/lib/webcam/webcam-1.2.4.cab, new firmware for fwupd's test device,
# and has that device keep its old version until a reboot. The cabinet is not signed.
set -e
mkdir -p /usr/local/lib/webcam
cd /usr/local/lib/webcam
printf 0x1020004 >webcam.bin
cat >webcam.metainfo.xml <<'XML'
<?xml version="1.0" encoding="UTF-8"?>
<component type="firmware">
  <id>net.example.webcam.firmware</id><name>Webcam</name><summary>Firmware of a webcam</summary>
  <provides><firmware type="flashed">b585990a-003e-5270-89d5-3705a17f9a43</firmware></provides>
  <metadata_license>CC0-1.0</metadata_license><project_license>proprietary</project_license>
  <developer_name>Example</developer_name>
  <custom>
    <value key="LVFS::VersionFormat">triplet</value>
    <value key="LVFS::UpdateProtocol">com.acme.test</value>
  </custom>
  <releases><release version="1.2.4" date="2026-01-21">
    <checksum filename="webcam.bin" target="content"/><description><p>Sharper.</p></description>
  </release></releases>
</component>
XML
fwupdtool build-cabinet webcam-1.2.4.cab webcam.bin webcam.metainfo.xml >/dev/null 2>&1
rm webcam.bin webcam.metainfo.xml
printf '[fwupd]\nTestDevices=true\nOnlyTrusted=false\n[test]\nNeedsReboot=true\n' >/etc/fwupd/fwupd.conf
