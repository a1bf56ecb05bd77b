"""The decoders that untrusted files may reach, out of ffmpeg's several hundred.

They cover what cameras, phones, broadcasts, discs, web sites and editing programs write. Each
further decoder would be another parser that a hostile file can attack. Names are ffmpeg's names of
decoders, for `codec_whitelist`.
"""

_VIDEO = (
    "h264 hevc vvc libdav1d av1 vp8 vp9 libvpx libvpx-vp9 mpeg1video mpeg2video mpegvideo mpeg4"
    " msmpeg4v1 msmpeg4v2 msmpeg4 h261 h263 h263p h263i flv vp3 vp4 theora vp5 vp6 vp6f vp6a"
    " wmv1 wmv2"
    " wmv3 vc1 mjpeg mjpegb gif png prores dnxhd cfhd dvvideo ffv1 huffyuv ffvhuff utvideo magicyuv"
    " rawvideo v210 cinepak indeo3 indeo4 indeo5 svq1 svq3 qtrle rpza msrle msvideo1 flashsv"
    " flashsv2 dirac snow lagarith jpeg2000 jpegls webp apng apv"
)
_AUDIO = (
    "aac aac_fixed aac_latm ac3 ac3_fixed eac3 mp1 mp1float mp2 mp2float mp3 mp3float mp3adu"
    " mp3adufloat opus libopus vorbis libvorbis flac alac wavpack tta dca truehd mlp speex"
    " nellymoser amrnb amrwb libopencore_amrnb libopencore_amrwb gsm gsm_ms qdm2 qdmc mace3 mace6"
    " wmav1 wmav2 wmapro wmalossless wmavoice adpcm_ms adpcm_ima_wav adpcm_ima_qt adpcm_swf"
    " adpcm_yamaha g722 g726 pcm_alaw pcm_mulaw pcm_u8 pcm_s8 pcm_s16le pcm_s16be"
    " pcm_s24le pcm_s24be pcm_s32le pcm_s32be pcm_f32le pcm_f32be pcm_f64le pcm_f64be pcm_u16le"
    " pcm_u16be pcm_bluray pcm_dvd pcm_s24daud pcm_s64le pcm_s64be pcm_s16le_planar"
    " pcm_s16be_planar pcm_s24le_planar pcm_s32le_planar pcm_s8_planar pcm_u24le pcm_u24be"
    " pcm_u32le pcm_u32be s302m"
)
DECODERS = frozenset(f"{_VIDEO} {_AUDIO}".split())
CODEC_WHITELIST = ",".join(sorted(DECODERS))
# Of a source's picture: 8K as cinema has it, upright too (phones and action cameras record 5.3K and
# 8K).
MAX_SIDE, MAX_PIXELS = 8192, 8192 * 4320
