// A literal path, which bundlers follow. The binary is loaded when it is first needed.
module.exports = () => require('../prebuilds/linux-arm64/repvgg.glibc.node');
